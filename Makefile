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
LIBS     = -luv -lssl -lcrypto -lcares -lsqlite3 -lhiredis -lyaml -lmicrohttpd -lidn2 -ljansson -lz -lexpat
TEST_LIBS = -lcmocka

FOLDERS = base smtp record dns store auth grey tls config report admin proxy cli
SOURCES = $(filter-out %_test.c %_fuzz.c,$(foreach f,$(FOLDERS),$(sort $(wildcard $(f)/*.c))))
LIBRARY = $(filter-out cli/main.c,$(SOURCES))
UNIT    = $(sort $(wildcard $(addsuffix /*_test.c,$(FOLDERS)) tests/*_test.c))
HARNESS = $(filter-out %_test.c %_fuzz.c,$(sort $(wildcard tests/*.c)))
FUZZ    = $(sort $(wildcard $(addsuffix /*_fuzz.c,$(FOLDERS))))

# V=1 shows the commands.
ifeq ($(V),1)
say =
Q   =
else
say = @echo "  $(1)  $@";
Q   = @
endif

object  = $(patsubst %.c,$(BUILD)/%.o,$(1))
UNIT_BINARIES = $(patsubst %.c,$(BUILD)/%,$(UNIT))

.PHONY: all run demo check unit unit-binaries e2e asan fuzz tidy layers headers sizes rfc format bench bench-binaries check-long long-binaries install clean deps test-deps
all: $(BUILD)/smtpguard

# ---- the two commands of the README ----
# They install what is missing first, so the build itself is a second make, which sees the new headers.
run: deps
	@$(MAKE) --no-print-directory all
	@packaging/try $(BUILD)/smtpguard

check: test-deps
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory layers headers
	@tests/check

demo: test-deps
	@$(MAKE) --no-print-directory all
	@tests/demo/run $(BUILD)/smtpguard

deps:
	@packaging/install-deps build
test-deps:
	@packaging/install-deps build test

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

$(BUILD)/libsmtpguard.a: $(call object,$(LIBRARY))
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/smtpguard: $(call object,cli/main.c) $(BUILD)/libsmtpguard.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libtests.a: $(call object,$(HARNESS))
	@rm -f $@
	@ar rcs $@ $^

# tests/store_bed.c counts what the store logs, record/record_test.c the keeper's alarms.
$(BUILD)/store/%_test $(BUILD)/report/journal_test $(BUILD)/record/record_test: LDFLAGS += -Wl,--wrap=log_note
$(UNIT_BINARIES): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libtests.a $(BUILD)/libsmtpguard.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) $(TEST_LIBS)

.SECONDARY:

# ---- tests ----
unit-binaries: $(UNIT_BINARIES)
unit: $(UNIT_BINARIES)
	@tests/run-unit $(UNIT_BINARIES)

# Programs that end-to-end tests ask.
E2E_TOOLS = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/e2e/*.c))
$(E2E_TOOLS): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libtests.a $(BUILD)/libsmtpguard.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
# Preloaded by programs whose clock a test turns: without the sanitizers, which such a program has already.
TURNED_CLOCK = $(BUILD)/tests/e2e/lib/turned_clock.so
$(TURNED_CLOCK): tests/e2e/lib/turned_clock.c
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -fPIC -shared -o $@ $<
e2e: all $(E2E_TOOLS) $(TURNED_CLOCK)
	@tests/e2e/run $(BUILD)/smtpguard

# Unit and e2e under the address and undefined-behaviour sanitizers.
ASAN = BUILD=build/asan SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all' FORTIFY= OPTIMIZE='-O1 -g'
asan:
	@$(MAKE) --no-print-directory $(ASAN) all unit
	@$(MAKE) --no-print-directory $(ASAN) e2e

# Every fuzz target for FUZZ_SECONDS, over the corpora in tests/corpora.
FUZZ_SECONDS ?= 60
FUZZ_BINARIES = $(patsubst %.c,build/fuzz/%,$(FUZZ))
fuzz: test-deps
	@$(MAKE) --no-print-directory CC=clang BUILD=build/fuzz FORTIFY= OPTIMIZE='-O1 -g' \
	    SANITIZE='-fsanitize=fuzzer-no-link,address,undefined' fuzz-binaries
	@tests/fuzz $(FUZZ_SECONDS) $(FUZZ_BINARIES)
fuzz-binaries: $(FUZZ_BINARIES)
$(FUZZ_BINARIES): build/fuzz/%: build/fuzz/%.o build/fuzz/libtests.a build/fuzz/libsmtpguard.a
	$(CC) $(LDFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $^ $(LIBS) $(TEST_LIBS)

# Across files cppcheck takes a pointer to one past the end for an overflow.
tidy:
	@cppcheck --library=tests/cppcheck.cfg --suppress=ctuPointerArith --quiet --std=c11 --error-exitcode=1 --inline-suppr --suppress=missingIncludeSystem \
	    --enable=warning,portability -I. -DVERSION='""' $(SOURCES)

# Against the Debian stack and a floor, as ratios in one run; needs root or sudo (docs/performance.md).
BENCHES = $(patsubst %.c,$(BUILD)/%,$(wildcard bench/*.c))
bench:
	@packaging/install-deps build test bench
	@$(MAKE) --no-print-directory all bench-binaries
	@bench/run $(BUILD)/smtpguard
bench-binaries: $(BENCHES)
$(BENCHES): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libtests.a $(BUILD)/libsmtpguard.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) $(TEST_LIBS) -lm

# ---- long tests: against other people's programs, and thousands of cases ----
LONG = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/long/*.c))
$(LONG): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libtests.a $(BUILD)/libsmtpguard.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) $(TEST_LIBS)
long-binaries: $(LONG) $(BUILD)/store/trouble_test
check-long:
	@packaging/install-deps build test long
	@$(MAKE) --no-print-directory all long-binaries
	@tests/long/run $(BUILD)

# ---- installing ----
PREFIX  ?= /usr/local
DESTDIR ?=
DOC      = $(DESTDIR)$(PREFIX)/share/doc/smtpguard
install: all
	install -D -m 755 $(BUILD)/smtpguard $(DESTDIR)$(PREFIX)/sbin/smtpguard
	install -D -m 644 packaging/smtpguard.8 $(DESTDIR)$(PREFIX)/share/man/man8/smtpguard.8
	install -D -m 644 -t $(DOC) README.md LICENSE smtpguard.yaml.example
	install -D -m 644 -t $(DOC)/docs docs/*.md
	install -D -m 644 -t $(DOC)/fail2ban packaging/fail2ban/smtpguard.conf
	install -D -m 644 packaging/smtpguard.service $(DESTDIR)$(PREFIX)/lib/systemd/system/smtpguard.service
	sed -i 's|/usr/local/sbin|$(PREFIX)/sbin|' $(DESTDIR)$(PREFIX)/lib/systemd/system/smtpguard.service

# ---- the house ----
layers:
	@tests/layers
	@tests/words

headers:
	@for h in $$(ls $(addsuffix /*.h,$(FOLDERS)) tests/*.h 2>/dev/null); do \
	    $(CC) $(filter-out -MMD -MP,$(CFLAGS)) -fsyntax-only -x c $$h || exit 1; done; echo "every header compiles alone"

sizes:
	@tests/sizes

rfc:
	@grep -rnoE 'RFC [0-9]{4}( [0-9]+(\.[0-9]+)*)?' --include='*.[ch]' $(FOLDERS) tests | \
	    awk -F: '{ print $$3 "\t" $$1 ":" $$2 }' | sort -k2,2n -k3,3V -s

format:
	@clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf build run

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
