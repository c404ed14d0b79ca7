/*
 * proxy/tables.h - the store's tables that hosts share, and how two states of a row become one
 */
#ifndef PROXY_TABLES_H
#define PROXY_TABLES_H

#include "store/store.h"

size_t tables_list(const struct store_table **tables_out);

/* store_open() with the tables. */
struct store *tables_open(const struct store_settings *settings, const struct clock *clock,
                          struct fail *fail);

#endif
