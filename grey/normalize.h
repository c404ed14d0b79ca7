/*
 * grey/normalize.h - one form for addresses that change with every message
 *
 * Mailing lists, bounce managers and forwarders put counters, dates, hashes and the recipient into the
 * sender's local part. A key made of it would be new for every message, and every message would wait. What
 * changes becomes "#" or goes:
 *
 *   prvs=0123456789=user@…, btv1==0a1==user@…           user@…                   BATV
 *   SRS0=hhhh=tt=example.org=user@…, SRS1=…             srs=example.org=user@…   Sender Rewriting
 *   user+anything@…                                     user@…
 *   list-return-1234-me=example.net@…                   list-return-#-me=example.net@…
 *   bounce-0a1b2c3d4e5f-x@…                             bounce-#-x@…
 *
 * The key is only compared with itself: two people who become one here wait once instead of twice, no more.
 *
 * Limits     Linear; the outcome is never longer than the address. Any octets may come in; controls
 *            become "?".
 * Ownership  The outcome lives in mem.
 */
#ifndef GREY_NORMALIZE_H
#define GREY_NORMALIZE_H

#include "base/str.h"

struct str normalize_sender(struct arena *mem, struct str address);    /* the null sender stays empty */
struct str normalize_recipient(struct arena *mem, struct str address); /* only the domain in lower case */

#endif
