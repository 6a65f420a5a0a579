# Every t/unit/*_test.c, linked with core/ under AddressSanitizer and
# UndefinedBehaviorSanitizer, is a subtest.

use strict;
use warnings;

use File::Basename qw(basename);
use File::Glob qw(:bsd_glob);
use File::Path qw(make_path);
use Test::More;
use VocTest qw(build_dir root);

my $core  = root() . '/ngx_http_voc_webhook_module/core';
my $out   = build_dir() . '/unit';
my $cc    = $ENV{CC} // 'gcc';
my @flags = qw(-std=c11 -D_GNU_SOURCE -g -O1 -Wall -Wextra -Werror
    -fsanitize=address -fsanitize=undefined -fno-sanitize-recover=all
    -fno-omit-frame-pointer);
my @libraries = qw(-lcmocka -lhiredis -lpcre2-8 -lcrypto -lpthread);

# Output and exit status (128 + signal where there was one).
sub run {
    my @command = @_;
    my $pid = open(my $pipe, '-|') // die "fork: $!";

    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }
    my $output = join '', <$pipe>;
    close $pipe;
    return ($output, $? & 127 ? 128 + ($? & 127) : $? >> 8);
}

sub newer {
    my ($file, @than) = @_;
    my $time = (stat $file)[9] // return 0;

    return !grep { ((stat $_)[9] // 0) >= $time } @than;
}

# Compiles what is out of date; the object's name, or undef after a failure.
sub object {
    my ($source, @headers) = @_;
    my $object = "$out/" . basename($source, '.c') . '.o';

    return $object if newer($object, $source, @headers, "$out/flags");
    my ($output, $status)
        = run($cc, @flags, '-I', $core, '-c', '-o', $object, $source);
    return $object if $status == 0;
    unlink $object;
    diag($output);
    return undef;
}

make_path($out);
my $flags = join ' ', $cc, @flags;
if (VocTest::slurp("$out/flags") ne $flags) {
    open my $file, '>', "$out/flags" or die $!;
    print {$file} $flags;
    close $file;
}

$ENV{CMOCKA_MESSAGE_OUTPUT} = 'TAP';
$ENV{ASAN_OPTIONS}  = 'detect_leaks=1:detect_stack_use_after_return=1';
$ENV{UBSAN_OPTIONS} = 'print_stacktrace=1';

my @headers = (glob("$core/*.h"), glob root() . '/t/unit/*.h');
my @objects = map { object($_, @headers) } glob "$core/*.c";
ok !(grep { !defined } @objects), 'core compiles' or BAIL_OUT('core');

my $archive = "$out/core.a";
if (!newer($archive, @objects)) {
    unlink $archive;
    my ($output, $status) = run('ar', 'rcs', $archive, @objects);
    is $status, 0, 'core is an archive' or BAIL_OUT($output);
}

my @tests = glob root() . '/t/unit/*_test.c';
ok scalar @tests, 'there are unit tests';
for my $source (@tests) {
    my $name = basename($source, '.c');

    subtest $name => sub {
        my $program = "$out/$name";
        my $object  = object($source, @headers);
        ok $object, 'compiles' or return;

        my ($output, $status)
            = run($cc, @flags, '-o', $program, $object, $archive, @libraries);
        is $status, 0, 'links' or return diag($output);

        ($output, $status) = run('timeout', 120, $program);
        my $good = ok $status == 0, 'passes';
        $good &= unlike $output, qr/Sanitizer|runtime error:/,
            'no sanitizer speaks up';
        like $output, qr/^ok /m, 'has tests' or $good = 0;
        diag("exit status $status\n$output") if !$good;
    };
}

done_testing;
