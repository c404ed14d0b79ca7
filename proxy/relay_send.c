#include "proxy/relay_in.h"

/* The message on its way to the backend, as fast as that takes it: our fields, the header section, the body from the spool. */

enum { PIECES_A_WRITE = 32, BYTES_A_WRITE = 64 * 1024 };

/* The next bytes of the message: the pieces in front, then the spool. */
static enum spool_status next_bytes(struct relay *relay)
{
    if (relay->unsent.n > 0)
        return SPOOL_PIECE;
    while (relay->next_piece < relay->message.count) {
        relay->unsent = relay->message.pieces[relay->next_piece++];
        if (relay->unsent.n > 0)
            return SPOOL_PIECE;
    }
    return spool_read(relay->message.spool, &relay->unsent);
}

/* What leaves in one write: our fields, the header, a small body and the final dot go out together. */
struct parcel {
    struct iovec pieces[PIECES_A_WRITE];
    int n;
    size_t bytes;
};

static bool is_full(const struct parcel *parcel)
{
    return parcel->n + 3 > PIECES_A_WRITE ||
           parcel->bytes >= BYTES_A_WRITE; /* a dot, a piece, and the end of it all */
}

static void pack(struct parcel *parcel, const void *bytes, size_t n)
{
    parcel->pieces[parcel->n++] = (struct iovec){(void *)bytes, n};
    parcel->bytes += n;
}

/* A header section may be far longer than a parcel, and than what a connection queues. */
static void pack_encoded(struct parcel *parcel, struct relay *relay)
{
    struct str now = str_upto(relay->unsent, BYTES_A_WRITE - parcel->bytes), piece;
    size_t n = now.n;
    bool dot;

    if (relay->by_chunk) {
        pack(parcel, now.p, now.n);
        now.n = 0;
    }
    while (!is_full(parcel) && smtp_data_encode(&relay->encoder, &now, &dot, &piece)) {
        if (dot)
            pack(parcel, ".", 1);
        pack(parcel, piece.p, piece.n);
    }
    relay->unsent = str_from(relay->unsent, n - now.n);
}

/* What the dialogue has to say is a part of the parcel by now. */
static void send_parcel(struct relay *relay, struct parcel *parcel)
{
    if (parcel->n > 0)
        conn_write(link_conn(relay->link), parcel->pieces, parcel->n);
    buf_clear(link_out(relay->link));
    parcel->n = 0;
    parcel->bytes = 0;
}

static void send_end(struct relay *relay, struct parcel *parcel)
{
    struct smtp_client *dialogue = link_dialogue(relay->link);

    relay->state = RELAY_WAITS_MESSAGE;
    if (!relay->by_chunk) {
        smtp_client_message_sent(dialogue, relay->encoder.at_line_start);
        if (smtp_client_replies_due(dialogue) == 0) {
            link_fail(relay->link, "it answered before the end of the message");
            return;
        }
        pack(parcel, link_out(relay->link)->p, link_out(relay->link)->n);
    }
    send_parcel(relay, parcel);
}

/* An unfinished message must never get its final dot. */
static void give_up(struct relay *relay)
{
    relay->trouble = "The message could not be read back from disk, try again later";
    link_close(&relay->link);
    relay_over(relay);
}

/* Writes as long as the kernel takes it; goes on at on_drain or when the spool has read its file. What comes
 * from the file is good only until the next is asked for, so it leaves at once. */
static void pump(struct relay *relay)
{
    struct buf *out = link_out(relay->link);
    struct parcel parcel = {.n = 0};

    link_await(relay->link);
    if (out->n > 0) /* "BDAT n LAST" */
        pack(&parcel, out->p, out->n);
    while (conn_queued(link_conn(relay->link)) == 0) {
        switch (next_bytes(relay)) {
        case SPOOL_PIECE:
            pack_encoded(&parcel, relay);
            if (is_full(&parcel) || !spool_is_in_memory(relay->message.spool))
                send_parcel(relay, &parcel);
            break;
        case SPOOL_WAIT:
            return;
        case SPOOL_END:
            send_end(relay, &parcel);
            return;
        case SPOOL_ERROR:
            give_up(relay);
            return;
        }
    }
}

static void begin_sending(struct relay *relay, bool by_chunk)
{
    relay->state = RELAY_SENDING;
    relay->by_chunk = by_chunk;
    relay->encoder = (struct smtp_data_encoder){.at_line_start = true};
    relay->next_piece = 0;
    relay->unsent = (struct str){0};
    spool_rewind(relay->message.spool);
    pump(relay);
}

void relay_send_lines(struct relay *relay)
{
    begin_sending(relay, false);
}

void relay_send_on(struct relay *relay)
{
    if (relay->state == RELAY_SENDING && relay->link != NULL)
        pump(relay);
}

static uint64_t message_bytes(const struct relay_message *message)
{
    uint64_t bytes = spool_bytes(message->spool);

    for (size_t i = 0; i < message->count; i++)
        bytes += message->pieces[i].n;
    return bytes;
}

void relay_send(struct relay *relay)
{
    addressees_expect(&relay->addressees);
    if (link_can(relay->link)->chunking) {
        smtp_client_bdat(link_dialogue(relay->link), message_bytes(&relay->message));
        begin_sending(relay, true);
        return;
    }
    relay->state = RELAY_WAITS_DATA;
    smtp_client_data(link_dialogue(relay->link));
    link_flush(relay->link);
}
