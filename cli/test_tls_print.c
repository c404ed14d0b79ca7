#include "cli/test_tls.h"

#include "base/json.h"
#include "cli/store_open.h"

#include <stdio.h>

enum { ANSWER_BYTES_MAX = 1024 * 1024 }; /* OpenSSL takes 100 KiB of certificates at the most */

/* ---- JSON ---- */

static void put_peer(struct json *j, const struct tls_peer *p, bool there_is_one)
{
    json_put_bool(j, "trusted", p->trusted);
    json_put_bool(j, "name_matches", p->has_name);
    json_key(j, "names");
    json_array(j);
    for (size_t i = 0; i < p->names_count; i++)
        json_str(j, p->names[i]);
    json_array_end(j);
    if (there_is_one) {
        json_put_str(j, "issuer", p->issuer);
        json_put_int(j, "not_before", p->not_before_unix);
        json_put_int(j, "not_after", p->not_after_unix);
        json_put_z(j, "key", p->key);
        json_put_int(j, "bits", p->bits);
        return;
    }
    json_put_z(j, "issuer", NULL);
    json_put_z(j, "not_before", NULL);
    json_put_z(j, "not_after", NULL);
    json_put_z(j, "key", NULL);
    json_put_z(j, "bits", NULL);
}

static void put_steps(struct json *j, const struct test_tls *t)
{
    json_key(j, "steps");
    json_array(j);
    for (size_t i = 0; i < t->steps_count; i++) {
        json_object(j);
        json_put_z(j, "step", t->steps[i].step);
        json_put_z(j, "answer", t->steps[i].answer);
        json_put_int(j, "ms", t->steps[i].ms);
        json_object_end(j);
    }
    json_array_end(j);
}

void cli_test_tls_json(const struct test_tls *t)
{
    struct buf out;
    struct json j;

    buf_init(&out, ANSWER_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_z(&j, "host", t->host);
    json_put_z(&j, "address", t->address);
    json_put_bool(&j, "starttls", t->visit.starttls);
    json_put_z(&j, "version", t->visit.version);
    json_put_z(&j, "cipher", t->visit.cipher);
    put_peer(&j, &t->peer, t->has_peer);
    json_put_z(&j, "reason", t->reason);
    put_steps(&j, t);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

/* ---- text ---- */

static void print_label(const char *label)
{
    printf("%-12s ", label);
}

static void print_names(const struct tls_peer *p)
{
    print_label("names");
    for (size_t i = 0; i < p->names_count; i++) {
        fputs(i > 0 ? ", " : "", stdout);
        cli_print(p->names[i]);
    }
    puts(p->names_count > 0 ? "" : "none");
}

static void print_peer(const struct test_tls *t)
{
    const struct tls_peer *p = &t->peer;

    print_names(p);
    print_label("issuer");
    cli_print(p->issuer);
    putchar('\n');
    print_label("valid");
    cli_print_time(p->not_before_unix);
    fputs(" to ", stdout);
    cli_print_time(p->not_after_unix);
    printf("\n%-12s %s, %d bits\n", "key", p->key, p->bits);
    printf("%-12s %s%s\n", "trusted", p->trusted ? "yes" : "no: ", p->trusted ? "" : p->distrust);
    printf("%-12s %s is %s\n", "name", t->name, p->has_name ? "one of them" : "none of them");
}

void cli_test_tls_text(const struct test_tls *t)
{
    bool is_good = t->has_peer && t->visit.ready && t->peer.trusted && t->peer.has_name;

    for (size_t i = 0; i < t->steps_count; i++) {
        printf("%-12s %6lld ms  ", t->steps[i].step, (long long)t->steps[i].ms);
        cli_print(str_of(t->steps[i].answer));
        putchar('\n');
    }
    print_label("TLS");
    if (t->visit.version != NULL)
        printf("%s %s\n", t->visit.version, t->visit.cipher);
    else
        puts("none");
    if (t->has_peer)
        print_peer(t);
    print_label("verdict");
    fputs(is_good ? t->reason != NULL ? "good, but " : "good" : "not good: ", stdout);
    cli_print(str_of(t->reason));
    putchar('\n');
}
