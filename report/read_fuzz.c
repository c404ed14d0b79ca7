/* Reports come from anybody: packed and unpacked, read whatever they are. */
#include "base/buf.h"
#include "report/gzip.h"
#include "report/read.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void on_record(const struct read_head *head, const struct read_record *record, void *arg)
{
    (void)head, (void)record, (void)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct buf xml;
    struct read_head head;
    struct fail fail;

    buf_init(&xml, 1024 * 1024);
    if (gzip_unpack(str_make((const char *)bytes, n), &xml, &fail) == 0)
        read_report(buf_str(&xml), &head, on_record, NULL, &fail);
    buf_fini(&xml);
    return 0;
}
