#include "cli/control.h"

#include "admin/control.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* A reload reads all files again, which may be on a slow disk. */
enum { JSON = 1000, SOCKET, ONCE, ANSWER_MS = 10000, RELOAD_MS = 60000 };

static const struct option list[] = {{"json", no_argument, NULL, JSON},
                                     {"config", required_argument, NULL, 'c'},
                                     {"socket", required_argument, NULL, SOCKET},
                                     {"once", no_argument, NULL, ONCE},
                                     {0}};

/* ---- options ---- */

int cli_control_open(struct cli_control *control, const char *verb, bool takes_once, int argc, char **argv)
{
    const char *file = CLI_CONFIG_FILE;
    int option;

    *control = (struct cli_control){.verb = verb, .mem = arena_new(0)};
    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:", list, NULL)) != -1) {
        if (option == 'c')
            file = optarg;
        else if (option == SOCKET)
            control->socket = optarg;
        else if (option == JSON)
            control->json = true;
        else if (option == ONCE && takes_once)
            control->once = true;
        else
            return cli_usage(verb, "\"%s\" is not understood", argv[optind - 1]);
    }
    if (optind < argc)
        return cli_usage(verb, "\"%s\" is one word too many", argv[optind]);
    if (control->socket == NULL)
        control->socket = config_control_socket(control->mem, file);
    return CLI_FINE;
}

void cli_control_close(struct cli_control *control)
{
    arena_free(&control->mem);
}

/* ---- asking ---- */

static int unreachable(const struct cli_control *control, const char *why)
{
    fprintf(stderr, "smtpguard %s: no daemon can be asked at \"%s\": %s\n", control->verb, control->socket,
            why);
    return CLI_UNREACHABLE;
}

static int connect_to(const struct cli_control *control)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct timeval patience = {ANSWER_MS / 1000, 0};
    int fd;

    if (*control->socket == '\0' || strlen(control->socket) >= sizeof(to.sun_path)) {
        errno = *control->socket == '\0' ? ENOENT : ENAMETOOLONG;
        return -1;
    }
    strcpy(to.sun_path, control->socket);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) /* connect() waits while the daemon takes nobody in */
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Until the daemon closes; false when it takes too long. */
static bool receive(int fd, int within_ms, struct buf *answer)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    char part[4096];
    ssize_t n = 1;

    while (n > 0 && !answer->overflow) {
        if (poll(&ready, 1, within_ms) <= 0)
            return false;
        n = read(fd, part, sizeof(part));
        if (n > 0)
            buf_add(answer, part, (size_t)n);
    }
    return true;
}

static int read_answer(struct cli_control *control, struct str text, const struct yaml_node **answer_out)
{
    struct faults faults;
    const char *error;

    faults_init(&faults, control->mem, NULL);
    *answer_out = text.n > 0 ? yaml_read(control->mem, text, &faults) : NULL;
    if (*answer_out == NULL || (*answer_out)->kind != YAML_MAP)
        return unreachable(control,
                           text.n > 0 ? "its answer is none" : "it closed the connection without an answer");
    error = cli_control_text(*answer_out, "error");
    if (*error == '\0')
        return CLI_FINE;
    fprintf(stderr, "smtpguard %s: %s\n", control->verb, error);
    return CLI_NO;
}

int cli_control_ask(struct cli_control *control, const char *order, struct str *text_out,
                    const struct yaml_node **answer_out)
{
    const char *line = str_fmt(control->mem, "%s\n", order);
    struct buf answer;
    bool in_time;
    int fd = connect_to(control);

    if (fd < 0)
        return unreachable(control, *control->socket == '\0' ? "admin.socket is empty" : strerror(errno));
    buf_init(&answer, CONTROL_ANSWER_MAX + 1);
    (void)!send(fd, line, strlen(line), MSG_NOSIGNAL); /* who may not ask is told before */
    in_time = receive(fd, strcmp(order, "reload") == 0 ? RELOAD_MS : ANSWER_MS, &answer);
    close(fd);
    *text_out = str_trim(str_copy(control->mem, buf_str(&answer)));
    buf_fini(&answer);
    return in_time ? read_answer(control, *text_out, answer_out) : unreachable(control, "it does not answer");
}

int cli_control_run(const char *verb, cli_control_tell_fn *tell, int argc, char **argv)
{
    const struct yaml_node *answer;
    struct cli_control control;
    struct str text;
    int code = cli_control_open(&control, verb, false, argc, argv);

    if (code == CLI_FINE)
        code = cli_control_ask(&control, verb, &text, &answer);
    if (code == CLI_FINE)
        code = tell(&control, text, answer);
    cli_control_close(&control);
    return code;
}

/* ---- the answer ---- */

static const struct yaml_node *find(const struct yaml_node *node, const char *path)
{
    struct str rest = str_of(path), key;

    while (node != NULL && rest.n > 0) {
        str_cut(rest, '.', &key, &rest);
        node = node->kind == YAML_MAP ? yaml_get(node, key) : NULL;
    }
    return node;
}

const char *cli_control_text(const struct yaml_node *answer, const char *path)
{
    const struct yaml_node *node = find(answer, path);

    return node != NULL && node->kind == YAML_SCALAR ? node->text.p : "";
}

bool cli_control_is(const struct yaml_node *answer, const char *path)
{
    return strcmp(cli_control_text(answer, path), "true") == 0;
}
