# The harness itself: what it must not let pass turns a test red.

use strict;
use warnings;

use Test::More;
use VocTest qw(root);

# Runs a test of its own; (exit status, output).
sub run_test {
    my ($body) = @_;
    my $lib  = root() . '/t/lib';
    my $code = <<"END" . $body . 'done_testing;';
use Test::More;
use VocTest::Nginx;
use VocTest::Redis;
my \$nginx = VocTest::Nginx->new(
    http => 'server { listen 127.0.0.1:%%PORT%%; }')->start;
pass;
END
    my $pid = open(my $pipe, '-|') // die "fork: $!";

    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec $^X, "-I$lib", '-e', $code or POSIX::_exit(127);
    }
    my $output = join '', <$pipe>;
    close $pipe;
    return ($? >> 8, $output);
}

my ($status, $output) = run_test('diag "pids ", $nginx->workers;');
is $status, 0, 'a test passes' or diag($output);

my $crash = 'kill "SEGV", ($nginx->workers)[0]; $nginx->wait_log(qr/11/);';
($status, $output) = run_test($crash);
isnt $status, 0, 'an alert in the log is a failure';
like $output, qr/nginx: .*\[alert\]/, 'and is shown';

($status, $output)
    = run_test("$crash \$nginx->expect_log(qr/exited on signal 11/);");
is $status, 0, 'unless it was expected' or diag($output);

($status, $output) = run_test(<<'END');
    diag "left: $_" for $nginx->pid, $nginx->workers;
    kill 'STOP', $nginx->pid;
    die 'interrupted';
END
isnt $status, 0, 'a test that dies is a failure';
my @pids = $output =~ /left: (\d+)/g;
is scalar @pids, 3, 'and had processes';
is scalar(grep { -d "/proc/$_" } @pids), 0, 'that have ended';

($status, $output)
    = run_test('eval { $nginx->reload(http => "no_such;") }; diag $@;');
isnt $status, 0, 'a reload that fails is a failure';
like $output, qr/does not reload.*no_such/, 'and says why';

done_testing;
