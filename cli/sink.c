#include "cli/cli.h"

#include "base/stream.h"
#include "cli/sink_message.h"
#include "cli/sink_session.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DESCRIPTORS = 2 * SINK_CONNECTIONS + 100 };

static void on_signal(int signal_number, void *arg)
{
    (void)signal_number;
    loop_stop(arg);
}

static void allow_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= DESCRIPTORS)
        return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static unsigned bound_port(int fd)
{
    struct sockaddr_storage addr;
    socklen_t length = sizeof(addr);
    struct endpoint at = {0};

    if (getsockname(fd, (struct sockaddr *)&addr, &length) == 0)
        endpoint_from_sockaddr((struct sockaddr *)&addr, &at);
    return at.port;
}

/* Under another name first, so that whoever waits for the file never reads half of it. */
static int write_port_file(const char *path, unsigned port, struct fail *fail)
{
    char tmp[4096];
    FILE *file;
    bool written;

    if ((size_t)snprintf(tmp, sizeof(tmp), "%s.new", path) >= sizeof(tmp))
        return fail_set(fail, "the path of the port file is too long");
    file = fopen(tmp, "we");
    if (file == NULL)
        return fail_errno(fail, "cannot write %s", tmp);
    written = fprintf(file, "%u\n", port) > 0;
    if (fclose(file) != 0 || !written || rename(tmp, path) != 0)
        return fail_errno(fail, "cannot write %s", path);
    return 0;
}

static void announce(const struct sink_settings *settings, unsigned port)
{
    struct arena *mem = arena_new(0);
    struct endpoint at = {settings->listen.ip, (uint16_t)port};
    const char *text = endpoint_text(mem, &at);

    if (settings->json)
        printf("{\"listen\":\"%s\"}\n", text);
    else
        fprintf(stderr, "smtpguard sink: listening on %s, messages go to %s/new\n", text, settings->maildir);
    fflush(stdout);
    arena_free(&mem);
}

static int serve(struct sink *sink, int fd, struct fail *fail)
{
    struct listener *listener = listener_start(sink->loop, fd, sink_accept, sink);
    int result = 0;

    if (loop_on_signal(sink->loop, SIGTERM, on_signal, sink->loop, fail) != 0 ||
        loop_on_signal(sink->loop, SIGINT, on_signal, sink->loop, fail) != 0)
        result = -1;
    if (result == 0)
        loop_run(sink->loop);
    listener_stop(&listener);
    sink_end_sessions(sink);
    return result;
}

static int run(const struct sink_settings *settings, struct fail *fail)
{
    struct sink sink = {.settings = settings};
    int fd, result;
    unsigned port;

    if (sink_maildir_make(settings->maildir, fail) != 0)
        return -1;
    allow_descriptors();
    fd = listener_probe(&settings->listen, fail) == 0 ? listener_bind(&settings->listen, fail) : -1;
    if (fd < 0)
        return -1;
    port = bound_port(fd);
    if (settings->port_file != NULL && write_port_file(settings->port_file, port, fail) != 0) {
        close(fd);
        return -1;
    }
    announce(settings, port);
    sink.loop = loop_new();
    result = serve(&sink, fd, fail);
    loop_free(&sink.loop);
    return result;
}

/* ---- options ---- */

enum {
    LISTEN = 1000,
    MAILDIR,
    PORT_FILE,
    REJECT,
    DEFER,
    REPLY_DATA,
    DELAY,
    NO_PIPELINING,
    NO_XCLIENT,
    CLOSE,
    JSON,
};

static const struct option options[] = {
    {"listen", required_argument, NULL, LISTEN},
    {"maildir", required_argument, NULL, MAILDIR},
    {"port-file", required_argument, NULL, PORT_FILE},
    {"reject-rcpt", required_argument, NULL, REJECT},
    {"defer-rcpt", required_argument, NULL, DEFER},
    {"reply-data", required_argument, NULL, REPLY_DATA},
    {"delay-ms", required_argument, NULL, DELAY},
    {"no-pipelining", no_argument, NULL, NO_PIPELINING},
    {"no-xclient", no_argument, NULL, NO_XCLIENT},
    {"close-after-dot", no_argument, NULL, CLOSE},
    {"json", no_argument, NULL, JSON},
    {0},
};

static int add_pattern(struct sink_patterns *patterns, const char *text)
{
    if (patterns->count == SINK_PATTERNS)
        return cli_usage("sink", "more than %d patterns", SINK_PATTERNS);
    patterns->text[patterns->count++] = text;
    return 0;
}

static int take_number(const char *text, uint64_t least, uint64_t most, uint64_t *value_out)
{
    if (!str_to_u64(str_of(text), most, value_out) || *value_out < least)
        return cli_usage("sink", "\"%s\" is not a number from %u to %u", text, (unsigned)least,
                         (unsigned)most);
    return 0;
}

static int take_option(int option, struct sink_settings *settings)
{
    struct fail fail;
    uint64_t number = 0;
    int code = 0;

    switch (option) {
    case LISTEN:
        if (endpoint_parse(str_of(optarg), &settings->listen, &fail) != 0)
            code = cli_usage("sink", "%s", fail.text);
        break;
    case MAILDIR:
        settings->maildir = optarg;
        break;
    case PORT_FILE:
        settings->port_file = optarg;
        break;
    case REJECT:
        return add_pattern(&settings->reject, optarg);
    case DEFER:
        return add_pattern(&settings->defer, optarg);
    case REPLY_DATA:
        code = take_number(optarg, 400, 599, &number);
        settings->reply_code = (unsigned)number;
        break;
    case DELAY:
        code = take_number(optarg, 0, 3600 * 1000, &number);
        settings->delay_ms = (int64_t)number;
        break;
    case NO_PIPELINING:
        settings->no_pipelining = true;
        break;
    case NO_XCLIENT:
        settings->no_xclient = true;
        break;
    case CLOSE:
        settings->close_after_dot = true;
        break;
    case JSON:
        settings->json = true;
        break;
    default:
        return CLI_USAGE;
    }
    return code;
}

int cli_sink(int argc, char **argv)
{
    struct sink_settings settings = {0};
    struct fail fail;
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?')
            return cli_usage("sink", "\"%s\" is not understood", argv[optind - 1]);
        if (take_option(option, &settings) != 0)
            return CLI_USAGE;
    }
    if (optind < argc)
        return cli_usage("sink", "\"%s\" is one word too many", argv[optind]);
    if (settings.listen.ip.family == 0 || settings.maildir == NULL)
        return cli_usage("sink", "--listen and --maildir are needed");
    if (run(&settings, &fail) == 0)
        return CLI_FINE;
    fprintf(stderr, "smtpguard sink: %s\n", fail.text);
    return CLI_BAD_INPUT;
}
