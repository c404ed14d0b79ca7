# smtpguard. `make run` tries it out, `make check` tests it; both install what they need first.
# Everything that is built goes to build/; one folder a flavour (release, asan, fuzz, clang).

CC      ?= gcc
BUILD   ?= build/release
VERSION := 0.1.0

WARN    = -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wwrite-strings -Wformat=2
HARDEN  = -fPIE -fstack-protector-strong -fstack-clash-protection -fno-delete-null-pointer-checks -fno-strict-overflow
ifeq ($(shell uname -m),x86_64)
HARDEN += -fcf-protection=full
endif
FORTIFY = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
OPTIMIZE ?= -O2 -g
SANITIZE ?=
CFLAGS  += -std=c11 -D_GNU_SOURCE $(WARN) $(OPTIMIZE) $(HARDEN) $(FORTIFY) $(SANITIZE) -DVERSION='"$(VERSION)"' -I. -MMD -MP -ffile-prefix-map=$(CURDIR)=.
LDFLAGS += -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code $(SANITIZE) -pthread
LIBS     = -luv -lssl -lcrypto -lcares -lsqlite3 -lyaml -lmicrohttpd -lidn2
TEST_LIBS = -lcmocka -ljansson

FOLDERS = base smtp dns store auth grey tls config admin proxy cli
SOURCES = $(filter-out %_test.c %_fuzz.c,$(foreach f,$(FOLDERS),$(sort $(wildcard $(f)/*.c))))
LIBRARY = $(filter-out cli/main.c,$(SOURCES))
UNIT    = $(sort $(wildcard $(addsuffix /*_test.c,$(FOLDERS)) tests/*_test.c))
HARNESS = $(filter-out %_test.c %_fuzz.c,$(sort $(wildcard tests/*.c)))
FUZZ    = $(sort $(wildcard $(addsuffix /*_fuzz.c,$(FOLDERS))))

object  = $(patsubst %.c,$(BUILD)/%.o,$(1))
UNIT_BINARIES = $(patsubst %.c,$(BUILD)/%,$(UNIT))

.PHONY: all deps unit layers headers sizes rfc format clean
all: $(BUILD)/smtpguard

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

$(BUILD)/libsmtpguard.a: $(call object,$(LIBRARY))
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/smtpguard: $(call object,cli/main.c) $(BUILD)/libsmtpguard.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libtests.a: $(call object,$(HARNESS))
	@rm -f $@
	@ar rcs $@ $^

$(UNIT_BINARIES): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libtests.a $(BUILD)/libsmtpguard.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) $(TEST_LIBS)

.SECONDARY:

# ---- tests ----
unit: $(UNIT_BINARIES)
	@tests/run-unit $(UNIT_BINARIES)

# ---- the house ----
layers:
	@tests/layers

headers:
	@for h in $$(ls $(addsuffix /*.h,$(FOLDERS)) tests/*.h 2>/dev/null); do \
	    $(CC) $(filter-out -MMD -MP,$(CFLAGS)) -fsyntax-only -x c $$h || exit 1; done; echo "every header compiles alone"

sizes:
	@tests/sizes

rfc:
	@grep -rnoE 'RFC [0-9]{4}( [0-9]+(\.[0-9]+)*)?' --include='*.[ch]' $(FOLDERS) tests | \
	    awk -F: '{ print $$3 "\t" $$1 ":" $$2 }' | sort -k2,2n -k3,3V -s

format:
	@clang-format --dry-run $$(git ls-files '*.c' '*.h') 2>&1 | grep -c warning || true

clean:
	rm -rf build run

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
