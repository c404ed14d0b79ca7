/*
 * What a record of a decision costs: to make it, and to have it in a file.
 *
 *   record_bench [FOLDER [COUNT]]       (default /tmp 20000)
 *
 * CPU of the whole process, of a message that was taken with SPF, a DKIM signature, DMARC, two DNS lists and the greylist;
 * then of reading all of them again, as the verbs do.
 */
#include "proxy/decision.h"
#include "record/files.h"
#include "record/keeper.h"
#include "record/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char usual[] =
    "{\"time\":1795943598,\"client\":{\"ip\":\"192.0.2.7\",\"port\":43857,\"rdns\":\"verified\",\"host\":"
    "\"mx7.sender.example\","
    "\"rdns_ms\":12,\"helo\":\"mx7.sender.example\",\"helo_form\":\"name\"},\"dnsbl\":{\"ms\":14,\"score\":0,"
    "\"lists\":[{\"zone\":"
    "\"bl1.example\",\"result\":\"clean\",\"score\":8},{\"zone\":\"bl2.example\",\"result\":\"clean\","
    "\"score\":4}]},\"spf_helo\":"
    "{\"result\":\"pass\",\"domain\":\"mx7.sender.example\",\"mechanism\":\"a\","
    "\"reason\":\"192.0.2.7 matches "
    "\\\"a\\\" in the record of "
    "mx7.sender.example\",\"lookups\":1},\"from\":\"bounces+alice@sender.example\",\"sender_domain\":"
    "\"sender.example\",\"sender\":\"exists\",\"sender_ms\":3,\"spf\":{\"ms\":5,\"result\":\"pass\","
    "\"domain\":"
    "\"sender.example\",\"mechanism\":\"ip4:192.0.2.0/24\",\"reason\":\"192.0.2.7 matches "
    "\\\"ip4:192.0.2.0/24\\\" in the record "
    "of "
    "sender.example\",\"lookups\":1},\"recipients\":[{\"to\":\"bob@rcpt.example\",\"ours\":true,\"grey\":{"
    "\"ms\":2,\"result\":"
    "\"known\",\"first\":1795000000},\"suspicion\":\"always\"}],\"message\":{\"bytes\":20480,\"received\":3,"
    "\"from_domain\":"
    "\"sender.example\",\"dkim\":{\"signatures\":[{\"result\":\"pass\",\"domain\":\"sender.example\","
    "\"selector\":\"s2026\","
    "\"algorithm\":\"rsa-sha256\",\"bits\":2048}]},\"dmarc\":{\"result\":\"pass\",\"policy\":\"reject\","
    "\"spf_aligned\":true,"
    "\"dkim_aligned\":true,\"reason\":\"SPF of sender.example is "
    "aligned\",\"found\":\"found\",\"org_domain\":\"sender.example\","
    "\"record_domain\":\"sender.example\",\"published\":\"reject\"}}}";

static double cpu_us(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void make(struct buf *line, const struct decision *d)
{
    static const struct decision_outcome taken = {
        .action = ACTION_ACCEPT, .code = 250, .enhanced = "2.0.0", .text = "Ok: queued as 1B5D4B329CD"};
    struct facts facts = d->facts;
    struct json json;

    buf_clear(line);
    json_init(&json, line);
    json_object(&json);
    json_put_z(&json, "id", "6Y7GV3FYK6.1");
    json_put_int(&json, "time", d->time_unix);
    json_put_z(&json, "at", "message");
    json_put_z(&json, "listener", "mx");
    json_put_int(&json, "ms", 57);
    decision_put_client(&json, &facts, "TLSv1.3");
    decision_put_transaction(&json, &facts);
    json_key(&json, "recipients");
    json_array(&json);
    facts.recipient = d->recipients[0].facts;
    decision_put_recipient(&json, &facts, d->recipients[0].suspicion, &taken);
    json_array_end(&json);
    decision_put_message(&json, &facts, STR("<20260706100000.17@sender.example>"));
    json_put_z(&json, "backend", "127.0.0.1:10025");
    decision_put_outcome(&json, "verdict", &taken);
    json_object_end(&json);
}

static bool on_line(struct str line, void *arg)
{
    struct arena *mem = arg;
    struct decision decision;

    arena_reset(mem);
    return decision_read(mem, line, &decision);
}

/* A hundred at a time, as they gather at 2,000 messages a second. */
static void keep(const char *folder, const struct decision *d, int count, struct buf *line)
{
    static const struct keeper_settings settings = {.keep_ms = 86400000, .bytes_max = 1LL << 40};
    struct keeper *keeper = keeper_start(folder, &settings, clock_system());

    for (int i = 0; i < count; i++) {
        make(line, d);
        keeper_add(keeper, buf_str(line));
        if (i % 100 == 99)
            usleep(KEEPER_GATHER_MS * 1000);
    }
    keeper_stop(&keeper);
}

static void remove_files(struct arena *mem, const char *folder)
{
    struct record_files files;

    if (record_files_list(mem, folder, &files, NULL) == 0)
        for (size_t i = 0; i < files.count; i++)
            unlink(str_fmt(mem, "%s/%s", folder, files.names[i]));
    rmdir(folder);
}

int main(int argc, char **argv)
{
    int count = argc > 2 ? atoi(argv[2]) : 20000;
    struct arena *mem = arena_new(0), *each = arena_new(16 * 1024);
    const char *folder = str_fmt(mem, "%s/record_bench.%d", argc > 1 ? argv[1] : "/tmp", (int)getpid());
    struct decision d;
    struct buf line;
    double begun, made, kept;

    buf_init(&line, DECISION_BYTES_MAX);
    if (count < 1 || !decision_read(mem, STR(usual), &d))
        return 64;
    begun = cpu_us();
    for (int i = 0; i < count; i++)
        make(&line, &d);
    made = (cpu_us() - begun) / count;
    begun = cpu_us();
    keep(folder, &d, count, &line);
    kept = (cpu_us() - begun) / count;
    begun = cpu_us();
    record_each(folder, 0, RECORD_NEWEST_FIRST, on_line, each, NULL);
    printf("a record of %zu octets: made in %.2f us, made and written in %.2f us, read in %.2f us\n", line.n,
           made, kept, (cpu_us() - begun) / count);
    remove_files(mem, folder);
    buf_fini(&line);
    arena_free(&each);
    arena_free(&mem);
    return 0;
}
