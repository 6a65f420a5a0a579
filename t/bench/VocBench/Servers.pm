package VocBench::Servers;

# The servers that are compared, each with a list of its own in one Redis.
# start() returns those that are installed here; each is a hash:
#
#   name, title      for the report
#   http, https, new, full
#                    URLs without a path for each kind of connection (see
#                    Pairs), as far as it can
#   path             of the request
#   key              its list; none where nothing is pushed
#   waits            whether the answer waits for Redis
#   process          has stop()
#   pids             code: processes whose CPU time counts
#   requests         code: how many it has answered, where it can tell
#   webdis           a request of its own form

use strict;
use warnings;

use Exporter qw(import);
use IO::Socket::INET;
use VocBench qw(bench_dir note separate server_mask);
use VocBench::Program;
use VocTest qw(certificate free_port private_dir root slurp wait_for
    worker_user);
use VocTest::Nginx;

our @EXPORT_OK = qw(limit_and_module module start_servers stop_servers);

sub packages { return bench_dir() . '/packages/root' }

# Text of servers/FILE with @names@ replaced.
sub configuration {
    my ($file, %values) = @_;
    my $text = slurp(root() . "/t/bench/servers/$file");
    my ($user) = worker_user();
    my ($multiarch) = glob packages() . '/usr/lib/*-linux-gnu*';

    %values = (
        affinity  => separate() ? 'worker_cpu_affinity 1;' : '',
        bench     => root() . '/t/bench',
        multiarch => ($multiarch // '') =~ s,.*/,,r,
        packages  => packages(),
        user      => $> == 0 ? "user $user nogroup;" : '',
        workers   => 1,
        %values,
    );
    $text =~ s/\@(\w+)\@/$values{$1} \/\/ die "$file: $1?"/ge;
    return $text;
}

# nginx with the module: options size, sync, workers, affinity.
sub module {
    my ($redis, %options) = @_;
    my %values = (size => '64m', sync => '1s', redis => $redis->port, %options);

    return VocTest::Nginx->new(
        workers => $values{workers} // 1,
        conf    => configuration('voc.conf', %values),
    )->start;
}

# How many requests nginx has read, but for those that asked.
my %asked;

sub requests_of {
    my ($nginx) = @_;
    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $nginx->port) or die "$@";

    print {$socket} "GET /requests HTTP/1.0\r\n\r\n";
    my $text = join '', <$socket>;
    my ($n) = $text =~ /handled requests\s+\d+ \d+ (\d+)/ or die $text;
    return $n - ++$asked{ $nginx->pid };
}

sub urls {
    my ($port, $tls, $full) = @_;

    return (http => "http://127.0.0.1:$port",
        $tls  ? (map { $_ => "https://127.0.0.1:$tls" } qw(https new)) : (),
        $full ? (full => "https://127.0.0.1:$full") : ());
}

# The two that an nginx with the module is.
sub limit_and_module {
    my ($nginx) = @_;
    my @common = (
        urls($nginx->port, $nginx->port('TLS'), $nginx->port('FULL')),
        process  => $nginx,
        pids     => sub { $nginx->workers },
        requests => sub { requests_of($nginx) },
    );

    return (
        { @common, name => 'limit', path => '/limit',
            title => 'nginx `return 200`, no Redis: the limit' },
        { @common, name => 'module', path => '/voc', key => 'voc:events',
            title => 'this module: checks, journal, push' },
    );
}

sub lua_servers {
    my ($redis) = @_;
    my ($library) = glob packages() . '/usr/lib/*/libluajit*.so.2';

    die "not installed\n" if !$library
        || !-e packages() . '/usr/lib/nginx/modules/ngx_http_lua_module.so';
    my $nginx = VocTest::Nginx->new(
        workers => 1,
        conf    => configuration('lua.conf', redis => $redis->port),
        env     => { LD_LIBRARY_PATH => $library =~ s,/[^/]*$,,r },
    )->expect_log(qr/./)->start;
    my @common = (
        urls($nginx->port, $nginx->port('TLS'), $nginx->port('FULL')),
        process => $nginx,
        pids => sub { $nginx->workers },
    );

    return (
        { @common, name => 'lua-timer', path => '/timer', key => 'voc:timer',
            title => 'Lua, shared dictionary and a timer (loses what it holds)' },
        { @common, name => 'lua-wait', path => '/wait', key => 'voc:wait',
            waits => 1, title => 'Lua, waits for Redis' },
    );
}

# A program that is not nginx, on the servers' core.
sub program {
    my ($ports, @command) = @_;
    my $program = VocBench::Program->new(server_mask(), @command);
    my $up = wait_for {
        $program->ended ? 'ended' : !grep {
            !IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $_)
        } @$ports;
    };

    die 'does not start: ', $program->log, "\n" if ($up // '') ne '1';
    return (urls(@$ports), process => $program, pids => sub { $program->pids });
}

sub node_server {
    my ($redis) = @_;
    my $dir = bench_dir() . '/node';
    my @ports = (free_port(), free_port());

    die "not installed\n" if !-d "$dir/node_modules/fastify";
    return { program(\@ports, 'node', "$dir/server.js", @ports, $redis->port,
            certificate()),
        name => 'node', path => '/voc', key => 'voc:node', waits => 1,
        title => 'Node.js, Fastify with ioredis' };
}

sub go_server {
    my ($redis) = @_;
    my $binary = bench_dir() . '/go-server';
    my @ports = (free_port(), free_port());

    die "not installed\n" if !-x $binary;
    return { program(\@ports, $binary, @ports, $redis->port, certificate()),
        name => 'go', path => '/voc', key => 'voc:go', waits => 1,
        title => 'Go net/http with redigo' };
}

# Takes commands, not events: it is sent the query as the item to push.
sub webdis_server {
    my ($redis) = @_;
    my $binary = packages() . '/usr/bin/webdis';
    my ($library) = glob packages() . '/usr/lib/*/libb64.so*';
    my $port = free_port();
    my $dir = private_dir();

    die "not installed\n" if !-x $binary || !$library;
    open my $file, '>', "$dir/webdis.json" or die $!;
    print {$file} <<"END";
{ "redis_host": "127.0.0.1", "redis_port": @{[ $redis->port ]},
  "http_host": "127.0.0.1", "http_port": $port, "threads": 1, "pool_size": 20,
  "daemonize": false, "database": 0, "verbosity": 0, "logfile": "$dir/webdis.log" }
END
    close $file or die $!;
    return { program([$port], 'env', 'LD_LIBRARY_PATH=' . $library =~ s,/[^/]*$,,r,
            $binary, "$dir/webdis.json"),
        name => 'webdis', path => 'RPUSH/voc:webdis/', key => 'voc:webdis',
        waits => 1, webdis => 1,
        title => 'webdis (pushes what it is sent, HTTP only)' };
}

my @rivals = (
    [ Lua    => \&lua_servers ],
    [ webdis => \&webdis_server ],
    [ Go     => \&go_server ],
    [ 'Node.js' => \&node_server ],
);

# The servers, and [name, reason] of those that are not there.
sub start_servers {
    my ($redis) = @_;
    my @servers = limit_and_module(module($redis));
    my @absent;

    for my $rival (@rivals) {
        my ($name, $start) = @$rival;
        my @started = eval { $start->($redis) };

        if (@started) { push @servers, @started; next }
        my ($reason) = $@ =~ /^(.*?):?$/m;
        note("$name: $reason");
        push @absent, { name => $name, reason => $reason };
    }
    return (\@servers, \@absent);
}

sub stop_servers {
    my (@servers) = @_;

    $_->{process}->stop for @servers;    # twice does no harm
}

1;
