/*
 * cli/report_opendmarc.h - the history file of OpenDMARC (HistoryFile), as of 1.3 and 1.4
 *
 * Lines of a name and values; a message begins with "job". Messages are counted like our own. The file is
 * known by its first message: imported again, also when it has grown meanwhile, each message counts once.
 */
#ifndef CLI_REPORT_OPENDMARC_H
#define CLI_REPORT_OPENDMARC_H

#include "cli/report.h"

#include <stdio.h>

int cli_report_import_opendmarc(struct cli_report *report, FILE *file); /* 0 or an exit code, said why */

#endif
