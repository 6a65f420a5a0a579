# Each fuzzer of t/fuzz goes over its corpus, with gcc and with clang, and then
# a short way of its own, always the same.  docs/testing.md tells how to run
# one for long.

use strict;
use warnings;

use File::Basename qw(basename);
use File::Glob qw(:bsd_glob);
use File::Path qw(make_path);
use Test::More;
use VocTest qw(build_dir private_dir root slurp);

my $core = root() . '/ngx_http_voc_webhook_module/core';
my $fuzz = root() . '/t/fuzz';

# Inputs tried besides the corpus: some 5 s.
my %runs = (event => 10_000, journal => 5_000, reply => 3_000);

my $flags = '-std=c11 -D_GNU_SOURCE -g -O2 -Wall -Wextra -Werror'
    . ' -fno-sanitize-recover=all -fno-omit-frame-pointer';
my $libraries = '-lhiredis -lpcre2-8 -lcrypto -lpthread';
my %sanitize  = (
    gcc   => { core => 'address,undefined', end => 'address,undefined' },
    clang => {
        core => 'fuzzer-no-link,address,undefined',
        end  => 'fuzzer,address,undefined',
    },
);

# Each run's own, gone with the test.
$ENV{TMPDIR}        = private_dir();
$ENV{ASAN_OPTIONS}  = 'detect_leaks=1:detect_stack_use_after_return=1';
$ENV{UBSAN_OPTIONS} = 'print_stacktrace=1';

sub run {
    my ($command) = @_;
    my $output = qx{$command 2>&1};

    return ($output, $? & 127 ? 128 + ($? & 127) : $? >> 8);
}

sub newer {
    my ($file, @than) = @_;
    my $time = (stat $file)[9] // return 0;

    return !grep { ((stat $_)[9] // 0) >= $time } @than;
}

# core/ with this compiler; the objects' names, none after a failure.
sub objects {
    my ($cc, $out) = @_;
    my @headers = glob "$core/*.h";
    my @objects;

    make_path($out);
    for my $source (glob "$core/*.c") {
        my $object = "$out/" . basename($source, '.c') . '.o';

        push @objects, $object;
        next if newer($object, $source, @headers, __FILE__);
        my ($output, $status) = run("$cc $flags"
            . " -fsanitize=$sanitize{$cc}{core} -c -o '$object' '$source'");
        next if $status == 0;
        unlink $object;
        diag($output);
        return;
    }
    return @objects;
}

sub links {
    my ($cc, $name, $main, @objects) = @_;
    my $program = build_dir() . "/fuzz/$cc/${name}_fuzz";
    my ($output, $status) = run("$cc $flags -fsanitize=$sanitize{$cc}{end}"
        . " -I '$core' -o '$program' '$fuzz/${name}_fuzz.c' $main"
        . " @objects $libraries");

    is $status, 0, "$name, $cc: links" or diag($output);
    return $status == 0 ? $program : undef;
}

sub passes {
    my ($what, $command) = @_;
    my ($output, $status) = run("timeout 300 $command");

    return ok($status == 0 && $output !~ /Sanitizer|runtime error:/, $what)
        || diag("exit status $status\n" . substr $output, -6000);
}

# Whether this clang has what it links to.
sub has_libfuzzer {
    my $source = "$ENV{TMPDIR}/probe.c";

    open my $file, '>', $source or die $!;
    print {$file} "int LLVMFuzzerTestOneInput(const unsigned char *data,\n"
        . "    unsigned long size) { return data == 0 && size > 0; }\n";
    close $file;
    return (run("clang -fsanitize=$sanitize{clang}{end} -o '$source.out'"
        . " '$source'"))[1] == 0;
}

my @names = map { basename($_, '_fuzz.c') } glob "$fuzz/*_fuzz.c";
is_deeply [sort @names], [sort keys %runs], 'the fuzzers';

for my $name (@names) {
    my @files = glob "$fuzz/corpus/$name/*";
    my $size  = 0;

    $size += -s $_ for @files;
    ok @files > 10 && @files < 200 && $size < 200_000,
        "$name: a corpus, and a small one";
}

my @gcc = objects('gcc', build_dir() . '/fuzz/gcc');
ok scalar @gcc, 'core compiles with gcc' or BAIL_OUT('core');
for my $name (@names) {
    my $program = links('gcc', $name, "'$fuzz/replay.c'", @gcc) // next;
    passes("$name, gcc: the corpus", "'$program' '$fuzz'/corpus/$name/*");
}

SKIP: {
    skip 'clang has no libFuzzer here', 1 if !has_libfuzzer();

    my @clang = objects('clang', build_dir() . '/fuzz/clang');
    ok scalar @clang, 'core compiles with clang' or BAIL_OUT('core');
    for my $name (@names) {
        my $program = links('clang', $name, '', @clang) // next;
        my $found = "$ENV{TMPDIR}/$name";
        my $left  = build_dir() . '/fuzz';
        my $dictionary = "$fuzz/${name}_fuzz.dict";

        make_path($found);
        passes("$name, clang: the corpus",
            "'$program' -runs=0 '$fuzz/corpus/$name'");
        passes("$name, clang: $runs{$name} inputs more",
            "'$program' -seed=1 -runs=$runs{$name} -max_len=600 -timeout=20"
            . " -artifact_prefix='$left/$name-'"
            . (-e $dictionary ? " -dict='$dictionary'" : '')
            . " '$found' '$fuzz/corpus/$name'");
    }
}

done_testing;
