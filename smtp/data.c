#include "smtp/data.h"

#include <string.h>

enum state {
    LINE_START, /* behind CRLF, or at the very beginning: a dot is special here */
    TEXT,
    CR,     /* in a line */
    DOT,    /* behind CRLF . */
    DOT_CR, /* behind CRLF . CR: one octet from the end, or a bare CR */
};

void smtp_data_decoder_init(struct smtp_data_decoder *d, size_t line_max)
{
    *d = (struct smtp_data_decoder){.state = LINE_START, .line_max = line_max};
}

static uint64_t load64(const char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    return word;
}

/* The first octet from p on that may matter within a line: CR, LF or NUL, and with them the few others up
 * to 0x0D (tabs). Eight octets a step: a byte below n has its high bit set in (w - n) & ~w. */
static const char *plain_end(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101, high = 0x8080808080808080, limit = 0x0E * ones;

    while (end - p >= 8) {
        uint64_t word = load64(p);

        if (((word - limit) & ~word & high) != 0)
            break;
        p += 8;
    }
    while (p < end && (unsigned char)*p > '\r')
        p++;
    return p;
}

static void note(struct smtp_data_decoder *d, enum smtp_data_fault fault)
{
    if (d->fault == SMTP_DATA_OK)
        d->fault = fault;
}

static void count(struct smtp_data_decoder *d, size_t octets)
{
    d->line_bytes += octets;
    if (d->line_bytes > d->line_max)
        note(d, SMTP_DATA_LONG_LINE);
}

/* Everything from *piece to `to` belongs to the message. */
static void pass(struct smtp_data_decoder *d, const char **piece, const char *to, smtp_data_sink_fn *sink,
                 void *arg)
{
    size_t n = (size_t)(to - *piece);

    d->bytes += n;
    if (n > 0 && d->fault == SMTP_DATA_OK)
        sink(str_make(*piece, n), arg);
    *piece = to;
}

/* An octet of a line, which is no dot at its start. */
static void take_octet(struct smtp_data_decoder *d, char c)
{
    count(d, 1);
    d->state = TEXT;
    if (c == '\r')
        d->state = CR;
    else if (c == '\n')
        note(d, SMTP_DATA_BARE_LF);
    else if (c == '\0')
        note(d, SMTP_DATA_NUL);
}

/* The octet behind a CR. False: it is not LF, that CR was bare, and the octet is still to be taken. */
static bool take_lf(struct smtp_data_decoder *d, char c)
{
    if (c != '\n') {
        note(d, SMTP_DATA_BARE_CR);
        d->state = TEXT;
        return false;
    }
    count(d, 1);
    d->line_bytes = 0;
    d->state = LINE_START;
    return true;
}

/* The octet behind CRLF . CR, which ends the message, or shows that the CR was bare. */
static bool take_end(struct smtp_data_decoder *d, char c)
{
    if (c == '\n')
        return d->ended = true;
    d->bytes++; /* the CR was held back */
    count(d, 1);
    note(d, SMTP_DATA_BARE_CR);
    d->state = TEXT;
    return false;
}

size_t smtp_data_decode(struct smtp_data_decoder *d, struct str in, smtp_data_sink_fn *sink, void *arg)
{
    const char *p = in.p, *end, *piece = in.p, *plain;

    if (in.n == 0)
        return 0;
    end = p + in.n;
    while (p < end && !d->ended) {
        switch ((enum state)d->state) {
        case TEXT:
            plain = plain_end(p, end);
            count(d, (size_t)(plain - p));
            p = plain;
            if (p < end)
                take_octet(d, *p++);
            break;
        case CR:
            p += take_lf(d, *p);
            break;
        case LINE_START:
            if (*p != '.') {
                take_octet(d, *p++);
                break;
            }
            pass(d, &piece, p, sink, arg);
            d->state = DOT;
            piece = ++p;
            break;
        case DOT:
            d->state = *p == '\r' ? DOT_CR : TEXT;
            if (d->state == DOT_CR)
                piece = ++p;
            break;
        case DOT_CR:
            p += take_end(d, *p);
            if (d->ended)
                return (size_t)(p - in.p);
            break;
        }
    }
    pass(d, &piece, p, sink, arg);
    return (size_t)(p - in.p);
}

void smtp_data_judge(struct smtp_data_decoder *d, struct str in, smtp_data_sink_fn *sink, void *arg)
{
    const char *p = in.p, *end, *piece = in.p, *plain;

    if (in.n == 0)
        return;
    end = p + in.n;
    while (p < end) {
        if (d->state == CR) {
            p += take_lf(d, *p);
            continue;
        }
        plain = plain_end(p, end);
        if (plain > p)
            d->state = TEXT;
        count(d, (size_t)(plain - p));
        p = plain;
        if (p < end)
            take_octet(d, *p++);
    }
    pass(d, &piece, p, sink, arg);
}

void smtp_data_judge_end(struct smtp_data_decoder *d)
{
    if (d->state == CR)
        note(d, SMTP_DATA_BARE_CR);
    d->ended = true;
}

bool smtp_data_is_at_line_start(const struct smtp_data_decoder *d)
{
    return d->state == LINE_START;
}

bool smtp_data_encode(struct smtp_data_encoder *e, struct str *in, bool *dot_out, struct str *piece_out)
{
    size_t at = 1;

    if (in->n == 0)
        return false;
    *dot_out = e->at_line_start && in->p[0] == '.';
    /* Dots are rarer than line ends, and base64 has none: look for the dot first. */
    while (at < in->n) {
        at += str_find(str_from(*in, at), '.');
        if (at == in->n || in->p[at - 1] == '\n')
            break;
        at++;
    }
    *piece_out = str_upto(*in, at);
    *in = str_from(*in, at);
    e->at_line_start = piece_out->p[piece_out->n - 1] == '\n';
    return true;
}

const char *smtp_data_fault_name(enum smtp_data_fault fault)
{
    static const char *const names[] = {
        [SMTP_DATA_OK] = "ok",   [SMTP_DATA_BARE_CR] = "bare CR",         [SMTP_DATA_BARE_LF] = "bare LF",
        [SMTP_DATA_NUL] = "NUL", [SMTP_DATA_LONG_LINE] = "line too long",
    };

    return names[fault];
}
