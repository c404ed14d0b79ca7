/* Places beside a plain list of what was added: whatever comes and goes, a search finds just that. */
#include "store/places.h"

#include "tests/t.h"

#include <stdlib.h>

enum { ROWS = 5000, HASHES = 700 };

static struct place {
    uint64_t hash;
    int64_t id;
    bool is_there;
} model[ROWS];

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

static size_t found_under(const struct places *places, uint64_t hash, int64_t id, bool *found_out)
{
    struct places_search search = {.hash = hash};
    size_t count = 0;
    int64_t got;

    *found_out = false;
    while (places_next(places, &search, &got)) {
        count++;
        *found_out |= got == id;
    }
    return count;
}

static size_t expected_under(uint64_t hash)
{
    size_t count = 0;

    for (size_t i = 0; i < ROWS; i++)
        count += model[i].is_there && model[i].hash >> 32 == hash >> 32;
    return count;
}

static void check_all(const struct places *places)
{
    size_t count = 0;
    bool found;

    for (size_t i = 0; i < ROWS; i++) {
        count += model[i].is_there;
        if (i % 7 == 0)
            t_same_int(found_under(places, model[i].hash, model[i].id, &found),
                       expected_under(model[i].hash));
        else
            found_under(places, model[i].hash, model[i].id, &found);
        t_same_int(found, model[i].is_there);
    }
    t_same_int(places_count(places), count);
}

static void change_some(struct places *places, unsigned changes, unsigned add_percent)
{
    for (unsigned i = 0; i < changes; i++) {
        struct place *place = &model[draw(ROWS)];
        bool add = draw(100) < add_percent;

        if (add == place->is_there)
            continue;
        place->is_there = add;
        (add ? places_add : places_remove)(places, place->hash, place->id);
    }
}

static void set_up_model(bool crowded)
{
    seed = 20261129;
    for (size_t i = 0; i < ROWS; i++) {
        /* Crowded: several rows of one hash, and homes in the last slots, so that clusters go round the end. */
        uint64_t hash =
            crowded ? (UINT64_MAX - draw(HASHES) * ((uint64_t)1 << 44)) : draw(UINT32_MAX) << 32 | i;

        model[i] = (struct place){hash, (int64_t)(i + 1) + (i % 3 == 0 ? (int64_t)1 << 40 : 0), false};
    }
}

static void test_against_model(void **state)
{
    (void)state;
    for (int crowded = 0; crowded < 2; crowded++) {
        struct places *places = places_new();

        set_up_model(crowded != 0);
        t_case(crowded ? "many rows of few hashes" : "each row with a hash of its own", NULL);
        check_all(places);
        change_some(places, 3000, 70);
        check_all(places);
        change_some(places, 30000, 90); /* grown */
        check_all(places);
        change_some(places, 30000, 50);
        check_all(places);
        change_some(places, 60000, 1); /* shrunk */
        check_all(places);
        change_some(places, 5000, 100);
        check_all(places);
        places_free(&places);
        t_true(places == NULL);
    }
}

static void test_edges(void **state)
{
    struct places *places = places_new();
    bool found;

    (void)state;
    t_case("nothing is found where nothing is, and nothing to remove is fine", NULL);
    t_same_int(found_under(places, 0, 1, &found), 0);
    places_remove(places, 0, 1);
    t_same_int(places_count(places), 0);
    t_case("the largest id, the smallest hash and the largest", NULL);
    places_add(places, 0, INT64_MAX);
    places_add(places, UINT64_MAX, 1);
    places_add(places, UINT64_MAX, 2);
    t_same_int(found_under(places, 0, INT64_MAX, &found), 1);
    t_true(found);
    t_same_int(found_under(places, UINT64_MAX, 2, &found), 2);
    t_true(found);
    t_case("one of two goes, the other stays", NULL);
    places_remove(places, UINT64_MAX, 1);
    t_same_int(found_under(places, UINT64_MAX, 2, &found), 1);
    t_true(found);
    places_free(&places);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_model), cmocka_unit_test(test_edges)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
