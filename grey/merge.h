/*
 * grey/merge.h - the rows of greylisting where hosts share them (store/store.h, struct store_table)
 *
 * A host that could not reach the shared rows for a while went on with its own. Whatever any of them knows in
 * a client's favour holds: who was seen first anywhere was seen first, who has passed anywhere has passed.
 */
#ifndef GREY_MERGE_H
#define GREY_MERGE_H

#include "store/store.h"

store_merge_fn grey_merge;
struct str grey_tag(struct str key); /* the client: a triple's row and its client's are asked together */

#endif
