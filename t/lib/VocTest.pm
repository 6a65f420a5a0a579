package VocTest;

# What the servers of a test share: private directories, free ports, a
# certificate, processes with a guard, waiting with a bound.
#
#   use Test::More;
#   use VocTest::Nginx;
#   use VocTest::Redis;
#   use VocTest::Client qw(query sample samples);
#
#   my $redis = VocTest::Redis->new;
#   my $nginx = VocTest::Nginx->new(http => <<"END");
#       voc_webhook_queue calls {
#           redis   127.0.0.1:@{[ $redis->port ]};
#           journal %%DIR%%/journal;
#       }
#       server {
#           listen 127.0.0.1:%%PORT%% ssl;
#           %%SSL%%
#           location = /voc {
#               voc_webhook_allow 127.0.0.1;
#               voc_webhook calls;
#           }
#       }
#   END
#   $redis->start;
#   $nginx->start;
#
#   my $client = VocTest::Client->new(port => $nginx->port, tls => 1);
#   my $answer = $client->post('/voc?' . query(sample('ivrOption')));
#   is $answer->{status}, 200;
#   my @events = $redis->wait_events(1);
#   done_testing;
#
# At the end, also on Ctrl-C, every process is ended by its id, directories
# are removed (kept and named with VOC_KEEP=1), and the test fails where
#   - a process did not end,
#   - a log holds [alert], [crit], [emerg] or a sanitizer's or valgrind's line
#     that was not announced with $nginx->expect_log(qr/.../).
#
# Environment: NGINX (binary, default nginx), VOC_BUILD (default build),
# VOC_VALGRIND=1 (nginx under valgrind), VOC_PRELOAD (a library for nginx, such
# as libasan), VOC_KEEP=1.

use strict;
use warnings;

use Carp qw(croak);
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX qw(:sys_wait_h setsid);
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(
    build_dir certificate complain end_session free_port private_dir reap
    register root session slow slurp spawn spawn_module started wait_for
    worker_user
);

my $owner = $$;
my (@servers, @directories, @complaints);
my %pids;    # ours that have not been waited for => what they are

$SIG{$_} = sub { exit 1 } for qw(HUP INT TERM);
$SIG{PIPE} = 'IGNORE';

sub root { return abs_path(dirname(__FILE__) . '/../..') }

sub build_dir { return $ENV{VOC_BUILD} // root() . '/build' }

# Factor for bounds in time.
sub slow { return $ENV{VOC_VALGRIND} ? 10 : 1 }

sub slurp {
    my ($path) = @_;

    open my $file, '<:raw', $path or return '';
    local $/;
    return scalar(<$file>) // '';
}

# Readable for the workers, which run as another user where the test is root.
sub private_dir {
    my $dir = tempdir('voc-test-XXXXXX', TMPDIR => 1);

    chmod 0755, $dir;
    push @directories, $dir;
    return $dir;
}

# (name, uid, gid) that nginx's workers run as.
sub worker_user {
    return (scalar getpwuid $>, $>, $) + 0) if $> != 0;
    return (getpwnam 'nobody')[0, 2, 3];
}

# A port that was free a moment ago, none twice.  Whoever binds it retries.
my %given;

sub free_port {
    for (1 .. 1000) {
        my $socket = IO::Socket::INET->new(
            LocalAddr => '127.0.0.1',
            LocalPort => 0,
            Proto     => 'tcp',
        ) or croak "no free port: $@";
        my $port = $socket->sockport;
        return $port if !$given{$port}++;
    }
    croak 'no free port';
}

# (certificate, key): self-signed, for localhost and 127.0.0.1, one per run.
my @certificate;

sub certificate {
    return @certificate if @certificate;

    my $dir  = private_dir();
    my @pair = ("$dir/cert.pem", "$dir/key.pem");
    system(
        'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256'
            . ' -nodes -days 30 -subj /CN=localhost'
            . ' -addext subjectAltName=DNS:localhost,IP:127.0.0.1'
            . " -keyout $pair[1] -out $pair[0] 2>/dev/null"
    ) == 0 or croak 'openssl failed';
    chmod 0644, @pair;
    return @certificate = @pair;
}

# Polls until what() is true, returns its value; undef after timeout seconds.
sub wait_for (&;$) {
    my ($what, $timeout) = @_;
    my $end = time + ($timeout // 10) * slow();

    while (1) {
        my $value = $what->();
        return $value if $value;
        return undef  if time > $end;
        sleep 0.005;
    }
}

# Starts a program in a session of its own, its output appended to log.  It
# gets SIGTERM where this test dies without a chance to clean up.
sub spawn {
    my ($log, @command) = @_;

    my $pid = fork // croak "fork: $!";
    return $pids{$pid} = $pid if $pid;

    setsid();
    open STDIN,  '<',  '/dev/null';
    open STDOUT, '>>', $log;
    open STDERR, '>&', \*STDOUT;
    exec 'setpriv', '--pdeathsig', 'TERM', @command or POSIX::_exit(127);
}

# Starts run(options) of a module of ours, its output in dir/output.log.  It
# makes the file sign once its signal handlers stand; before that a signal
# may hit Perl while it compiles, which it does not survive: start() waits
# for started().
sub spawn_module {
    my ($dir, $module, @options) = @_;

    return spawn("$dir/output.log", $^X, '-I', root() . '/t/lib',
        "-M$module", '-e', "${module}::run(\@ARGV)", @options);
}

sub started {
    my ($sign) = @_;

    wait_for { -e $sign } or croak "no process made $sign";
    return;
}

# True once the process has ended; its status, where it was our child, in $?.
sub reap {
    my ($pid) = @_;

    if (!$pids{$pid}) {
        $? = 0;
        return slurp("/proc/$pid/stat") !~ /\) [^Z] /;
    }
    return 0 if waitpid($pid, WNOHANG) == 0;
    delete $pids{$pid};
    return 1;
}

# All live processes of the session that spawn() made.
sub session {
    my ($id) = @_;
    my @found;

    for my $path (glob '/proc/[0-9]*/stat') {
        # pid (name) state ppid pgrp session
        my ($pid, $state, $session)
            = slurp($path) =~ /^(\d+) \(.*\) (\S) \d+ \d+ (\d+) /s or next;
        push @found, $pid if $session == $id && $state ne 'Z';
    }
    return @found;
}

# Kills what is left of the session; returns how many there were.
sub end_session {
    my ($id) = @_;
    my @left = session($id);

    # Again and again: a master may fork while it is looked for.
    wait_for { kill 'KILL', session($id); reap($id); !session($id) };
    return scalar @left;
}

# A server has stop() and complaints(); the latter after the former.
sub register { push @servers, @_ }

# Makes the test fail at its end.
sub complain { push @complaints, @_ }

END {
    if ($$ == $owner) {
        my $status = $?;
        local $@;

        for my $server (reverse @servers) {
            eval { $server->stop; 1 } or complain("stop: $@");
        }
        for my $id (keys %pids) {
            complain("process $id had to be killed") if end_session($id);
        }
        complain($_->complaints) for @servers;
        for my $dir (@directories) {
            if ($ENV{VOC_KEEP}) { diag("kept $dir") }
            else                { remove_tree($dir) }
        }
        if (@complaints) {
            diag("at the end of the test:\n", join "\n", @complaints);
            $status ||= 1;
        }
        $? = $status;
    }
}

1;
