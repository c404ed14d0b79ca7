/* Any text as a record: what is read of it can be decided again, and written as a record that is one line. */
#include "base/bug.h"
#include "proxy/replay.h"

static const struct config *usual_settings(void)
{
    static const struct config *config;
    struct buf faults;

    if (config == NULL) {
        buf_init(&faults, 1024 * 1024);
        config = config_load(NULL, &faults);
        buf_fini(&faults);
    }
    return config;
}

static void write_again(struct buf *line, const struct decision *d)
{
    struct facts facts = d->facts;
    struct json json;

    json_init(&json, line);
    json_object(&json);
    json_put_int(&json, "time", d->time_unix);
    decision_put_client(&json, &facts, d->tls);
    decision_put_transaction(&json, &facts);
    json_key(&json, "recipients");
    json_array(&json);
    for (size_t i = 0; i < d->recipients_count; i++) {
        facts.recipient = d->recipients[i].facts;
        decision_put_recipient(&json, &facts, d->recipients[i].suspicion, &d->recipients[i].outcome);
    }
    json_array_end(&json);
    decision_put_message(&json, &facts, str_of(d->message_id));
    decision_put_outcome(&json, "verdict", &d->outcome);
    json_object_end(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *mem = arena_new(0);
    struct decision d, again;
    struct buf line;

    buf_init(&line, 16 * 1024 * 1024);
    if (decision_read(mem, str_make((const char *)data, size), &d)) {
        struct replay replay = replay_decision(mem, usual_settings(), &d);

        if (replay.count > d.recipients_count + 3)
            bug("more answers than were asked for");
        write_again(&line, &d);
        if (line.overflow || str_has(buf_str(&line), '\n') || !decision_read(mem, buf_str(&line), &again) ||
            again.recipients_count != d.recipients_count)
            bug("a record that cannot be read again");
    }
    buf_fini(&line);
    arena_free(&mem);
    return 0;
}
