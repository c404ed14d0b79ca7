#include "smtp/reply.h"

#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first octet is the size of the pieces. What was read is written without a line of its own. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_reply_reader reader;
    struct smtp_reply reply;
    enum smtp_reply_status status = SMTP_REPLY_MORE;
    size_t piece = size > 0 ? data[0] + 1u : 1;

    smtp_reply_reader_init(&reader);
    for (size_t at = 1; at < size && status != SMTP_REPLY_GARBAGE; at += piece) {
        struct str in = str_upto(str_make((const char *)data + at, size - at), piece);

        while (in.n > 0 && (status = smtp_reply_read(&reader, &in, &reply)) == SMTP_REPLY_READY) {
            struct buf out;

            buf_init(&out, 1 << 20);
            smtp_reply_write(&out, reply.code, "", reply.text);
            for (size_t i = 0; i < out.n; i++)
                if (out.p[i] == '\n' && (i == 0 || out.p[i - 1] != '\r'))
                    bug("a bare LF was written");
            buf_fini(&out);
        }
    }
    smtp_reply_reader_fini(&reader);
    return 0;
}
