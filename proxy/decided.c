#include "proxy/session_in.h"

#include "proxy/decision.h"

#include <stdio.h>
#include <string.h>

/*
 * What was decided goes on record (proxy/decision.h): one record for each transaction, however it ended, and one for each
 * session that came to none. Recipients are written down as they are answered, for the next one takes their place among
 * the facts.
 */

/* A greeting or a command that was refused: the last one of the session. */
struct refusal {
    const char *moment;
    struct verdict verdict;
};

static bool is_wanted(const struct session *s)
{
    return keeper_wants(s->service->keeper);
}

static struct decision_outcome outcome_of(const struct verdict *v)
{
    return (struct decision_outcome){.action = v->action,
                                     .code = v->code,
                                     .enhanced = v->enhanced,
                                     .check = v->check,
                                     .text = v->text,
                                     .observed = v->observed,
                                     .observed_count = v->observed_count};
}

/* The verdict's when it refuses, else the backend's word. */
static struct decision_outcome answered(const struct session *s, int code, const char *enhanced,
                                        const char *text)
{
    struct decision_outcome outcome = outcome_of(&s->verdict);

    if (verdict_refuses(&s->verdict))
        return outcome;
    outcome.action = code < 400 ? ACTION_ACCEPT : code < 500 ? ACTION_DEFER : ACTION_REJECT;
    outcome.code = code;
    outcome.enhanced = enhanced;
    outcome.check = code < 400 ? NULL : "backend";
    outcome.text = text;
    return outcome;
}

/* ---- a record ---- */

static struct json begin_record(struct service *service, const char *id, const char *at, const char *listener,
                                int64_t ms)
{
    struct json json;

    buf_clear(&service->record);
    json_init(&json, &service->record);
    json_object(&json);
    json_put_z(&json, "id", id);
    json_put_int(&json, "time", clock_unix(service->clock));
    json_put_z(&json, "at", at);
    decision_put_text(&json, "listener", listener);
    json_put_int(&json, "ms", ms);
    return json;
}

/* What is too long for a record is none: nothing is told in part. */
static void end_record(struct service *service, struct json *json)
{
    enum { KEPT_ROOM = 32 * 1024 };

    json_object_end(json);
    if (!service->record.overflow)
        keeper_add(service->keeper, buf_str(&service->record));
    if (service->record.room > KEPT_ROOM)
        buf_fini(&service->record);
}

static void put_session(struct json *json, const struct session *s)
{
    const struct tls_engine *tls = conn_tls(s->conn);

    decision_put_client(json, &s->facts, tls != NULL ? tls_engine_version(tls) : NULL);
    if (s->ended)
        decision_put_text(json, "end", s->end_why);
}

/* ---- recipients ---- */

void decided_recipient(struct session *s)
{
    struct decision_outcome outcome;
    struct buf *told = &s->tx->told;
    size_t before = told->n;
    struct json json;

    if (!is_wanted(s))
        return;
    outcome = answered(s, s->reply_code, s->reply_enhanced, str_dup(s->tx->mem, s->reply_text));
    if (told->room == 0)
        (void)buf_reserve(told, 1000); /* one recipient, and some more: it need not grow */
    json_init(&json, told);
    json.need_comma = before > 0;
    decision_put_recipient(&json, &s->facts, s->facts.recipient.grey != NULL ? s->tx->suspicion : NULL,
                           &outcome);
    s->tx->told_count++;
    if (told->overflow ||
        s->tx->told_count > DECISION_RECIPIENTS_MAX) { /* there may be room for a shorter one */
        told->n = before;
        told->overflow = false;
        s->tx->untold_count++;
    }
}

static void put_recipients(struct json *json, const struct transaction *tx)
{
    if (tx->told_count == 0)
        return;
    json_key(json, "recipients");
    json_array(json);
    buf_add_str(json->out, buf_str(&tx->told));
    json_array_end(json);
    if (tx->untold_count > 0)
        json_put_int(json, "recipients_left_out", tx->untold_count);
}

/* ---- transactions ---- */

static struct json begin_transaction(struct session *s, const char *at)
{
    struct json json = begin_record(s->service, session_message_id(s), at, s->listen->name,
                                    loop_now_ms(s->service->loop) - s->tx->begun_ms);

    put_session(&json, s);
    decision_put_transaction(&json, &s->facts);
    put_recipients(&json, s->tx);
    return json;
}

void decided_message(struct session *s, int code, const char *text)
{
    const struct header_field *id = header_find(&s->tx->intake->header, "message-id");
    struct decision_outcome outcome;
    struct json json;

    if (!is_wanted(s))
        return;
    json = begin_transaction(s, "message");
    outcome = answered(s, code, s->reply_enhanced, text);
    decision_put_message(&json, &s->facts, id != NULL ? header_unfold(s->tx->mem, id->value) : STR(""));
    if (s->facts.message.dmarc != NULL)
        json_put_z(&json, "disposition",
                   dmarc_policy_name(decide_dmarc_disposition(s->service->config, &s->facts)));
    decision_put_text(&json, "backend", s->tx->backend);
    decision_put_text(&json, "signed", s->tx->intake->signatures.n > 0 ? "yes" : s->tx->unsigned_why);
    decision_put_outcome(&json, "verdict", &outcome);
    end_record(s->service, &json);
    s->tx->is_recorded = true;
}

/* The client went, or began anew, before its message was whole. */
void decided_transaction(struct session *s)
{
    struct json json;

    if (s->tx->is_recorded || !is_wanted(s))
        return;
    json = begin_transaction(s, s->tx->intake != NULL ? "data" : s->tx->told_count > 0 ? "rcpt" : "mail");
    decision_put_text(&json, "backend", s->tx->backend);
    end_record(s->service, &json);
}

/* ---- sessions ---- */

void decided_stage(struct session *s, const char *moment)
{
    if (!verdict_refuses(&s->verdict) || !is_wanted(s))
        return;
    if (s->refusal == NULL)
        s->refusal = ARENA_NEW(s->mem, struct refusal);
    *s->refusal = (struct refusal){moment, s->verdict};
}

/* Of own clients that come and go (checks of a balancer, monitoring) there is nothing to explain. */
void decided_session(struct session *s)
{
    struct decision_outcome outcome;
    struct json json;

    if (s->messages > 0 || (s->refusal == NULL && s->facts.session.trusted) || !is_wanted(s))
        return;
    json = begin_record(s->service, s->id,
                        s->refusal != NULL              ? s->refusal->moment
                        : s->mechanism[0] != '\0'       ? "auth"
                        : s->facts.session.helo != NULL ? "helo"
                                                        : "connect",
                        s->listen->name, loop_now_ms(s->service->loop) - s->begun_ms);
    put_session(&json, s);
    if (s->failed_logins > 0)
        json_put_int(&json, "failed_logins", s->failed_logins);
    if (s->refusal != NULL) {
        outcome = outcome_of(&s->refusal->verdict);
        decision_put_outcome(&json, "verdict", &outcome);
    }
    end_record(s->service, &json);
}

/* Whoever floods us must not push everything else out of the history: the log has all of them. */
static bool is_one_too_many(struct service *service)
{
    enum { SPAN_MS = 60000, A_SPAN = 60 };
    int64_t now_ms = loop_now_ms(service->loop);

    if (service->limits_recorded == 0 || now_ms - service->limits_since_ms >= SPAN_MS) {
        service->limits_since_ms = now_ms;
        service->limits_recorded = 0;
    }
    return service->limits_recorded++ >= A_SPAN;
}

void decided_limits(struct service *service, const struct listen_settings *listen, const struct ip *ip,
                    const char *check, const char *reply)
{
    struct facts facts = {.session.client = *ip};
    char enhanced[] = "4.x.x", text[128];
    struct decision_outcome outcome = {
        .action = ACTION_DROP, .code = 421, .enhanced = enhanced, .check = check, .text = text};
    struct json json;

    if (!keeper_wants(service->keeper) || is_one_too_many(service))
        return;
    snprintf(text, sizeof(text), "%.*s", STR_ARG(str_trim(str_from(str_of(reply), strlen("421 4.x.x ")))));
    memcpy(enhanced, reply + strlen("421 "), strlen(enhanced));
    json = begin_record(service, "", "limits", listen->name, 0);
    decision_put_client(&json, &facts, NULL);
    decision_put_outcome(&json, "verdict", &outcome);
    end_record(service, &json);
}
