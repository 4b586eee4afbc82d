# make shared        libaqueduct.so, versioned; exports what packaging/libaqueduct.map names and nothing else
# make install       headers, both libraries, pkg-config and CMake files, aqd-tail, manual pages. PREFIX, DESTDIR; libdir and the rest one by one
# make uninstall     removes what the same command with install wrote
# make amalgamation  aqueduct.h and aqueduct.c in $(BUILD)/amalgamation, to copy into another tree
# make dist          $(BUILD)/aqueduct-c-VERSION.tar.gz, for FetchContent, and a wrap for Meson
# make check-packaging  all of these tried out: tests/packaging.sh; make check-cross: other processors: tests/cross.sh
# make check-builds  compilers, standards, flags, unity builds, FetchContent, Meson: tests/builds.sh
# make check-bindings  the examples in other languages: tests/bindings.sh
# make lint-man      the manual pages, also against the headers: tests/man.sh
# Included by Makefile, whose variables it uses.

VERSION := $(shell sed -n 's/^.define AQD_VERSION "\(.*\)"/\1/p' include/aqueduct/status.h)
# Rises when a program that was linked against an older libaqueduct.so would no longer run right.
SOVERSION = 0

PREFIX ?= /usr/local
exec_prefix ?= $(PREFIX)
bindir ?= $(exec_prefix)/bin
libdir ?= $(exec_prefix)/lib
includedir ?= $(PREFIX)/include
mandir ?= $(PREFIX)/share/man
INSTALL ?= install

SHARED = $(BUILD)/libaqueduct.so.$(VERSION)
SHARED_OBJECTS = $(LIB_SOURCES:%.c=$(BUILD)/pic/%.o)
HEADERS = $(wildcard include/aqueduct/*.h)
AMALGAMATION = $(BUILD)/amalgamation/aqueduct.h $(BUILD)/amalgamation/aqueduct.c
PACKAGE_FILES = $(BUILD)/aqueduct.pc $(BUILD)/aqueduct-config.cmake $(BUILD)/aqueduct-config-version.cmake
PAGES = $(wildcard man/*.[1-8])

# Nothing is left open, but by a sanitizer, whose runtime comes with the program.
DEFS = $(if $(findstring -fsanitize,$(CFLAGS) $(EXTRA_CFLAGS) $(LDFLAGS)),,-Wl,-z,defs)

.PHONY: shared install uninstall amalgamation dist check-packaging check-builds check-bindings check-cross lint-man package-files absolute

shared: $(SHARED)

$(BUILD)/pic/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -fPIC -c -o $@ $<

$(SHARED): $(SHARED_OBJECTS) packaging/libaqueduct.map
	$(LINK) -shared -Wl,-soname,libaqueduct.so.$(SOVERSION) -Wl,--version-script=packaging/libaqueduct.map \
		-Wl,-z,relro -Wl,-z,now $(DEFS) -o $@ $(SHARED_OBJECTS) $(LDLIBS)
	ln -sf $(@F) $(BUILD)/libaqueduct.so.$(SOVERSION)
	ln -sf libaqueduct.so.$(SOVERSION) $(BUILD)/libaqueduct.so

amalgamation: $(AMALGAMATION)

# Grouped, for GNU make before 4.3: the header makes the source, too.
$(BUILD)/amalgamation/aqueduct.c: $(BUILD)/amalgamation/aqueduct.h
$(BUILD)/amalgamation/aqueduct.h: tools/amalgamate.sh $(HEADERS) $(LIB_SOURCES) $(wildcard src/*.h src/*/*.h)
	@mkdir -p $(@D)
	VERSION=$(VERSION) FREE="$(FREE_SOURCES)" sh tools/amalgamate.sh $(@D) $(LIB_SOURCES)

DIST = aqueduct-c-$(VERSION)
dist:
	@rm -rf $(BUILD)/$(DIST) && mkdir -p $(BUILD)/$(DIST)
	cp -R CMakeLists.txt Makefile README.md meson.build package.mk examples include man packaging src tests tools $(wildcard LICENSE ../LICENSE) $(BUILD)/$(DIST)
	tar -C $(BUILD) --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - $(DIST) | gzip -n >$(BUILD)/$(DIST).tar.gz
	@rm -rf $(BUILD)/$(DIST)
	sed -e 's|@VERSION@|$(VERSION)|g' -e "s|@HASH@|$$(sha256sum <$(BUILD)/$(DIST).tar.gz | cut -d' ' -f1)|" \
		packaging/aqueduct.wrap.in >$(BUILD)/aqueduct.wrap

# Made anew each time: they name the directories, which come from the command line. CMake finds them relative to its own file.
package-files: absolute
	@mkdir -p $(BUILD)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@libdir@|$(libdir)|' -e 's|@includedir@|$(includedir)|' -e 's|@VERSION@|$(VERSION)|' \
		packaging/aqueduct.pc.in >$(BUILD)/aqueduct.pc
	sed -e "s|@include_from_cmake@|$$(sh tools/relative.sh '$(libdir)/cmake/aqueduct' '$(includedir)')|" \
		-e 's|@VERSION@|$(VERSION)|g' -e 's|@SOVERSION@|$(SOVERSION)|g' packaging/aqueduct-config.cmake.in >$(BUILD)/aqueduct-config.cmake
	sed -e 's|@VERSION@|$(VERSION)|g' -e "s|@pointer_bytes@|$$(echo __SIZEOF_POINTER__ | $(CC) $(CFLAGS) $(EXTRA_CFLAGS) -E -P -)|" \
		packaging/aqueduct-config-version.cmake.in >$(BUILD)/aqueduct-config-version.cmake

# pkg-config and CMake files name these directories, and a relative one would mean another place to
# whoever reads them.
absolute:
	@for directory in 'PREFIX=$(PREFIX)' 'bindir=$(bindir)' 'libdir=$(libdir)' 'includedir=$(includedir)' 'mandir=$(mandir)'; do \
		case $${directory#*=} in /*) ;; *) echo "make install: $$directory is relative; give an absolute path" >&2; exit 2 ;; esac; done

# A page documents every name of its .Nm lines; man finds it under each of them by a link.
define for_each_page_name
for page in $(PAGES); do \
	section=$${page##*.}; file=$${page##*/}; \
	for name in $$(sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([^ ]*\).*/\1/p' $$page); do $(1); done; \
done
endef

install: absolute $(LIB) $(SHARED) $(BUILD)/tail package-files
	$(INSTALL) -d '$(DESTDIR)$(bindir)' '$(DESTDIR)$(libdir)/pkgconfig' '$(DESTDIR)$(libdir)/cmake/aqueduct' \
		'$(DESTDIR)$(includedir)/aqueduct' '$(DESTDIR)$(mandir)/man1' '$(DESTDIR)$(mandir)/man3' '$(DESTDIR)$(mandir)/man7'
	$(INSTALL) -m 644 $(HEADERS) '$(DESTDIR)$(includedir)/aqueduct'
	$(INSTALL) -m 644 $(LIB) '$(DESTDIR)$(libdir)'
	$(INSTALL) -m 755 $(SHARED) '$(DESTDIR)$(libdir)'
	ln -sf $(notdir $(SHARED)) '$(DESTDIR)$(libdir)/libaqueduct.so.$(SOVERSION)'
	ln -sf libaqueduct.so.$(SOVERSION) '$(DESTDIR)$(libdir)/libaqueduct.so'
	$(INSTALL) -m 644 $(BUILD)/aqueduct.pc '$(DESTDIR)$(libdir)/pkgconfig'
	$(INSTALL) -m 644 $(BUILD)/aqueduct-config.cmake $(BUILD)/aqueduct-config-version.cmake '$(DESTDIR)$(libdir)/cmake/aqueduct'
	$(INSTALL) -m 755 $(BUILD)/tail '$(DESTDIR)$(bindir)/aqd-tail'
	@set -e; for page in $(PAGES); do $(INSTALL) -m 644 $$page "$(DESTDIR)$(mandir)/man$${page##*.}"; done
	@set -e; $(call for_each_page_name,test $$name.$$section = $$file || ln -sf $$file "$(DESTDIR)$(mandir)/man$$section/$$name.$$section")
	@[ -n '$(DESTDIR)' ] || echo 'Installed. Programs find $(libdir)/libaqueduct.so.$(SOVERSION) after "ldconfig" (as root), or with LD_LIBRARY_PATH or an rpath.'

uninstall:
	rm -f '$(DESTDIR)$(bindir)/aqd-tail' '$(DESTDIR)$(libdir)/libaqueduct.a' '$(DESTDIR)$(libdir)/libaqueduct.so' \
		'$(DESTDIR)$(libdir)/libaqueduct.so.$(SOVERSION)' '$(DESTDIR)$(libdir)/$(notdir $(SHARED))' \
		'$(DESTDIR)$(libdir)/pkgconfig/aqueduct.pc' '$(DESTDIR)$(libdir)/cmake/aqueduct/aqueduct-config.cmake' \
		'$(DESTDIR)$(libdir)/cmake/aqueduct/aqueduct-config-version.cmake' $(HEADERS:include/%='$(DESTDIR)$(includedir)/%')
	@$(call for_each_page_name,rm -f "$(DESTDIR)$(mandir)/man$$section/$$name.$$section" "$(DESTDIR)$(mandir)/man$$section/$$file")
	-rmdir '$(DESTDIR)$(includedir)/aqueduct' '$(DESTDIR)$(libdir)/cmake/aqueduct'

check-packaging:
	sh tests/packaging.sh

check-builds:
	sh tests/builds.sh

check-bindings:
	sh tests/bindings.sh

check-cross:
	sh tests/cross.sh

lint-man:
	sh tests/man.sh
