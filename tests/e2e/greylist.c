/*
 * Plays mail to the greylist at times of the caller's choosing, for tests/e2e/test_greylist_replay.py: the rules of
 * when a client is asked about, its identity, the policy and the store are those of a session; the clock is not.
 *
 * Usage    greylist STORE-URL; settings from the environment as for smtpguard (SMTPGUARD_GREYLIST__WHEN=always).
 * Input    a line an attempt: unix time, address, verified host or "-", domain that SPF passed for or "-", sender,
 *          recipient, with blanks between them.
 * Output   a line each: "unasked", or the greylist's word ("new", "early", "passed", "known", "trusted", …).
 */
#include "base/bug.h"
#include "proxy/decide.h"
#include "tests/turned_clock.h"

#include <stdio.h>

enum { LINE_MAX_BYTES = 4096, WORDS = 6, FAULTS_BYTES_MAX = 64 * 1024 };

struct player {
    const struct config *config;
    struct store *store;
    struct loop *loop;
    struct arena *mem; /* of one attempt */
    struct grey_answer answer;
};

static void on_grey(const struct grey_answer *answer, void *arg)
{
    struct player *player = arg;

    player->answer = *answer;
    loop_stop(player->loop);
}

static const char *ask(struct player *p, const struct grey_client *client, struct str sender,
                       struct str recipient)
{
    const struct grey_settings *settings = &p->config->greylist;
    struct grey_ask question = {grey_identity(p->mem, settings, client),
                                grey_network_identity(p->mem, settings, &client->ip), sender, recipient,
                                turned_unix};

    grey_start(p->mem, p->store, p->loop, settings, &question, on_grey, p);
    loop_run(p->loop);
    return grey_verdict_name(p->answer.verdict);
}

static const char *or_none(struct arena *mem, struct str word)
{
    return str_eq_z(word, "-") ? NULL : str_dup(mem, word);
}

static const char *play(struct player *p, const struct str words[WORDS])
{
    struct spf_answer spf = {.result = SPF_NONE};
    struct facts facts = {.transaction.spf = &spf, .session.helo_form = HELO_NAME};
    struct grey_client client = {.verified_host = or_none(p->mem, words[2]),
                                 .spf_domain = or_none(p->mem, words[3])};
    uint64_t time;

    if (!str_to_u64(words[0], INT64_MAX, &time) || !ip_parse(words[1], &client.ip))
        bug("no time, or no address: %.*s %.*s", STR_ARG(words[0]), STR_ARG(words[1]));
    turned_unix = (long long)time;
    spf.result = client.spf_domain != NULL ? SPF_PASS : SPF_NONE;
    facts.session.rdns = client.verified_host != NULL ? RDNS_VERIFIED : RDNS_NONE;
    if (decide_is_suspicious(p->config, &facts) == NULL ||
        grey_is_allowed(&p->config->greylist, &client, words[5]))
        return "unasked";
    return ask(p, &client, words[4], words[5]);
}

static void play_all(struct player *p)
{
    char line[LINE_MAX_BYTES];

    while (fgets(line, sizeof(line), stdin) != NULL) {
        struct str rest = str_trim(str_of(line)), words[WORDS];

        for (int i = 0; i < WORDS; i++)
            str_cut(rest, ' ', &words[i], &rest);
        arena_reset(p->mem);
        puts(play(p, words));
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct store_settings settings = {.url = argc == 2 ? argv[1] : ""};
    struct player player = {.loop = loop_new(), .mem = arena_new(0)};
    struct fail fail;
    struct buf faults;

    buf_init(&faults, FAULTS_BYTES_MAX);
    player.config = config_load(NULL, &faults);
    if (player.config == NULL)
        bug("%s", buf_z(&faults));
    player.store = store_open(&settings, &turned_clock, &fail);
    if (player.store == NULL)
        bug("%s", fail.text);
    play_all(&player);
    store_close(&player.store);
    loop_free(&player.loop);
    arena_free(&player.mem);
    config_unref(&player.config);
    buf_fini(&faults);
    return 0;
}
