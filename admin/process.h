/*
 * admin/process.h - what the system knows of this process, under Prometheus's usual names
 */
#ifndef ADMIN_PROCESS_H
#define ADMIN_PROCESS_H

#include "base/buf.h"

/* process_cpu_seconds_total, process_resident_memory_bytes … What /proc does not tell is left out. */
void process_render(struct buf *out);

#endif
