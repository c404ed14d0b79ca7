#include "admin/control.h"

#include "tests/t.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A folder of its own for each test, and a loop that runs until the client has seen the end of its answer. */
struct bed {
    char folder[64], path[96];
    struct loop *loop;
    struct control *control;
    char asked[64]; /* what the last order was */
    uid_t uid;
    size_t answer_bytes; /* of filling */
};

struct client {
    struct bed *bed;
    int fd;
    struct watch *watch;
    struct buf answer;
};

static void on_order(const struct control_order *order, struct buf *answer, void *arg)
{
    struct bed *bed = arg;

    snprintf(bed->asked, sizeof(bed->asked), "%.*s", STR_ARG(order->text));
    bed->uid = order->uid;
    buf_add_z(answer, "{\"a\":\"");
    for (size_t i = 0; i < bed->answer_bytes; i++)
        buf_add_char(answer, 'x');
    buf_add_z(answer, "\"}");
}

static void set_up(struct bed *bed)
{
    struct fail fail = {""};
    int fd;

    *bed = (struct bed){.folder = "/tmp/control_test.XXXXXX"};
    t_true(mkdtemp(bed->folder) != NULL);
    snprintf(bed->path, sizeof(bed->path), "%s/sock", bed->folder);
    bed->loop = loop_new();
    fd = control_bind(bed->path, &fail);
    if (fd < 0)
        t_fail("%s", fail.text);
    bed->control = control_start(bed->loop, fd, bed->path, on_order, bed);
}

static void tear_down(struct bed *bed)
{
    control_stop(&bed->control);
    t_true(bed->control == NULL);
    loop_free(&bed->loop);
    unlink(bed->path);
    rmdir(bed->folder);
}

static int connect_to(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    t_true(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
    return fd;
}

static void on_readable(unsigned ready, void *arg)
{
    struct client *client = arg;
    char part[4096];
    ssize_t n = read(client->fd, part, sizeof(part));

    (void)ready;
    if (n > 0) {
        buf_add(&client->answer, part, (size_t)n);
        return;
    }
    watch_stop(&client->watch);
    loop_stop(client->bed->loop);
}

/* What the socket says to this, until it closes. */
static const char *ask(struct bed *bed, const char *order)
{
    static char text[CONTROL_ANSWER_MAX + 2];
    struct client client = {.bed = bed, .fd = connect_to(bed->path)};

    buf_init(&client.answer, sizeof(text) - 1);
    t_true(write(client.fd, order, strlen(order)) == (ssize_t)strlen(order));
    client.watch = watch_start(bed->loop, client.fd, WATCH_READ, on_readable, &client);
    loop_run(bed->loop);
    close(client.fd);
    snprintf(text, sizeof(text), "%s", buf_z(&client.answer));
    buf_fini(&client.answer);
    return text;
}

static void test_orders(void **state)
{
    struct bed bed;
    char line[CONTROL_LINE_MAX + 2];

    (void)state;
    set_up(&bed);
    t_case("a line asks, and a line answers", NULL);
    t_same_z(ask(&bed, "status\n"), "{\"a\":\"\"}\n");
    t_same_z(bed.asked, "status");
    t_same_int(bed.uid, getuid());
    t_case("what is behind the line does not matter, nor does a CR", NULL);
    t_same_z(ask(&bed, "reload\r\nstatus\n"), "{\"a\":\"\"}\n");
    t_same_z(bed.asked, "reload");
    t_case("an answer that the kernel does not take at once arrives whole", NULL);
    bed.answer_bytes = CONTROL_ANSWER_MAX - 16;
    t_same_int(strlen(ask(&bed, "long\n")), CONTROL_ANSWER_MAX - 16 + 9);
    t_case("one that is too long is said to be", NULL);
    bed.answer_bytes = CONTROL_ANSWER_MAX;
    t_same_z(ask(&bed, "longer\n"), "{\"error\":\"the answer is too long\"}\n");
    t_case("an order that is no short line is none", NULL);
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    bed.asked[0] = '\0';
    t_same_z(ask(&bed, line), "{\"error\":\"an order is one short line\"}\n");
    t_same_z(bed.asked, "");
    tear_down(&bed);
}

static void test_many(void **state)
{
    int fds[CONTROL_CONNECTIONS];
    struct bed bed;

    (void)state;
    set_up(&bed);
    t_case("beyond the most that may visit at once, one is closed without a word", NULL);
    for (size_t i = 0; i < CONTROL_CONNECTIONS; i++)
        fds[i] = connect_to(bed.path);
    t_same_z(ask(&bed, "status\n"), "");
    t_case("when they have gone, there is room again", NULL);
    for (size_t i = 0; i < CONTROL_CONNECTIONS; i++)
        close(fds[i]);
    t_same_z(ask(&bed, "status\n"), "{\"a\":\"\"}\n");
    t_case("stopping ends those that are there", NULL);
    fds[0] = connect_to(bed.path);
    tear_down(&bed);
    close(fds[0]);
}

static void test_leaving(void **state)
{
    struct fail fail = {""};
    struct client client;
    struct bed bed;
    int late;

    (void)state;
    set_up(&bed);
    t_case("after it has left, who was there gets his answer, and nobody else", NULL);
    t_same_z(ask(&bed, "first\n"), "{\"a\":\"\"}\n");
    client = (struct client){.bed = &bed, .fd = connect_to(bed.path)};
    t_same_z(ask(&bed, "second\n"), "{\"a\":\"\"}\n"); /* by then the other one is there, too */
    control_leave(bed.control);
    late = control_bind(bed.path, &fail); /* nobody listens there any more */
    t_true(late >= 0);
    close(late);
    buf_init(&client.answer, 1024);
    t_true(write(client.fd, "third\n", 6) == 6);
    client.watch = watch_start(bed.loop, client.fd, WATCH_READ, on_readable, &client);
    loop_run(bed.loop);
    t_same_z(buf_z(&client.answer), "{\"a\":\"\"}\n");
    t_same_z(bed.asked, "third");
    close(client.fd);
    buf_fini(&client.answer);
    tear_down(&bed);
}

static void test_file(void **state)
{
    struct fail fail = {""};
    char text[128];
    struct stat st;
    struct bed bed;
    int fd;

    (void)state;
    set_up(&bed);
    t_case("the socket is for its user and group", NULL);
    t_true(stat(bed.path, &st) == 0);
    t_same_int(st.st_mode & 0777, 0660);
    t_case("one that somebody listens to is not taken over", NULL);
    t_same_int(control_bind(bed.path, &fail), CONTROL_TAKEN);
    t_true(strstr(fail.text, "is in use") != NULL);
    t_same_z(ask(&bed, "status\n"), "{\"a\":\"\"}\n");
    t_case("what a process that is gone has left is replaced", NULL);
    control_stop(&bed.control);
    fd = control_bind(bed.path, &fail);
    t_true(fd >= 0);
    close(fd);
    t_case("a file that is no socket is left alone", NULL);
    unlink(bed.path);
    close(open(bed.path, O_CREAT | O_WRONLY, 0600));
    t_same_int(control_bind(bed.path, &fail), CONTROL_FAILED);
    t_true(stat(bed.path, &st) == 0 && S_ISREG(st.st_mode));
    t_case("a folder that is not there is a sentence", NULL);
    snprintf(text, sizeof(text), "%s/none/sock", bed.folder);
    t_same_int(control_bind(text, &fail), CONTROL_FAILED);
    t_true(strstr(fail.text, "No such file") != NULL);
    t_case("it can be made before", NULL);
    t_same_int(control_prepare(text, (uid_t)-1, (gid_t)-1, &fail), 0);
    t_same_int(control_prepare(text, (uid_t)-1, (gid_t)-1, &fail), 0);
    fd = control_bind(text, &fail);
    t_true(fd >= 0);
    close(fd);
    unlink(text);
    *strrchr(text, '/') = '\0';
    t_true(stat(text, &st) == 0);
    t_same_int(st.st_mode & 0777, 0750);
    rmdir(text);
    tear_down(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_orders), cmocka_unit_test(test_many),
                                       cmocka_unit_test(test_leaving), cmocka_unit_test(test_file)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
