package VocTest::Redis;

# A private redis-server, on a port of 127.0.0.1 and a unix socket.
#
#   my $redis = VocTest::Redis->new(
#       password   => 'x',             # requirepass
#       users      => ['app on >pw ~voc:* +@all'],    # ACL
#       conf       => "maxmemory 1mb\n",              # more configuration
#       appendonly => 1,               # off; data survive a restart with it
#       tls        => 1,               # also on ->tls_port
#   );
#   $redis->start;
#   $redis->port; $redis->tls_port; $redis->socket; $redis->dir; $redis->pid;
#   $redis->cli('LLEN', 'voc:events');    # dies on an error reply
#   $redis->list($key);                   # all items, default voc:events
#   $redis->wait_list($key, $n, $timeout);   # dies where fewer come in time
#   $redis->wait_events($n, $timeout);    # the same, voc:events, decoded
#   $redis->stop;       # SIGTERM
#   $redis->kill;       # SIGKILL
#   $redis->restart;    # stop, start: same port
#   $redis->pause; $redis->resume;        # SIGSTOP, SIGCONT

use strict;
use warnings;

use Carp qw(croak);
use JSON::PP qw(decode_json);
use Redis;
use VocTest qw(certificate end_session free_port private_dir reap register
    slurp spawn wait_for);

use constant KEY => 'voc:events';

sub new {
    my ($class, %options) = @_;
    my $self = bless { %options, dir => private_dir() }, $class;

    $self->choose_ports;
    register($self);
    return $self;
}

sub port     { return $_[0]{port} }
sub tls_port { return $_[0]{tls_port} }
sub socket   { return "$_[0]{dir}/redis.sock" }
sub dir      { return $_[0]{dir} }
sub pid      { return $_[0]{pid} }
sub log      { return slurp("$_[0]{dir}/redis.log") }

sub choose_ports {
    my ($self) = @_;

    $self->{port}     = free_port();
    $self->{tls_port} = free_port() if $self->{tls};
    return;
}

sub write_conf {
    my ($self) = @_;
    my @lines = (
        'bind 127.0.0.1',
        "port $self->{port}",
        "dir $self->{dir}",
        'unixsocket ' . $self->socket,
        'unixsocketperm 777',
        'save ""',
        'appendonly ' . ($self->{appendonly} ? 'yes' : 'no'),
        'appendfsync always',
    );

    push @lines, 'requirepass "' . $self->{password} =~ s/(["\\])/\\$1/gr . '"'
        if $self->{password};
    push @lines, map {"user $_"} @{ $self->{users} // [] };
    if ($self->{tls}) {
        my ($certificate, $key) = certificate();
        push @lines, "tls-port $self->{tls_port}",
            "tls-cert-file $certificate", "tls-key-file $key",
            "tls-ca-cert-file $certificate", 'tls-auth-clients no';
    }

    open my $file, '>', "$self->{dir}/redis.conf" or croak $!;
    print {$file} map({"$_\n"} @lines), $self->{conf} // '';
    close $file or croak $!;
    return;
}

# Ports stay the same from the first successful start on.
sub start {
    my ($self) = @_;

    for (1 .. 5) {
        my $log = "$self->{dir}/redis.log";
        my $old = length slurp($log);

        $self->write_conf;
        $self->{pid}
            = spawn($log, 'redis-server', "$self->{dir}/redis.conf");
        my $up = wait_for {
            # Not PING, whose errors Redis.pm hides, nor ECHO, which a Redis
            # that loads its file answers.
            reap($self->{pid}) ? 'ended'
                : eval { $self->cli('EXISTS', 'up'); 'up' }
        };
        if (($up // '') eq 'up') {
            $self->{started} = 1;
            return $self;
        }

        end_session($self->{pid});
        delete $self->{pid};
        my $text = substr slurp($log), $old;
        croak "redis-server does not start:\n$text"
            if $text !~ /Address already in use/;
        $self->choose_ports if !$self->{started};
    }
    croak 'redis-server finds no port';
}

sub stop {
    my ($self) = @_;
    my $pid = $self->{pid} or return;

    delete $self->{connection};
    CORE::kill('CONT', $pid);
    CORE::kill('TERM', $pid);
    if (!wait_for { reap($pid) }) {
        end_session($pid);
        VocTest::complain("redis-server $pid did not end");
    }
    delete $self->{pid};
    return $self;
}

sub kill {
    my ($self) = @_;
    my $pid = $self->{pid} or return;

    delete $self->{connection};
    end_session($pid);
    delete $self->{pid};
    return $self;
}

sub restart { $_[0]->stop; return $_[0]->start }
sub pause   { CORE::kill('STOP', $_[0]{pid}); return $_[0] }
sub resume  { CORE::kill('CONT', $_[0]{pid}); return $_[0] }

sub cli {
    my ($self, $command, @arguments) = @_;
    my $method = lc $command;
    my @reply;

    # A destructor may clear $@, so success has a value of its own.
    my $good = eval {
        $self->{connection} //= Redis->new(
            sock          => $self->socket,
            read_timeout  => 10 * VocTest::slow(),
            write_timeout => 10,
            $self->{password} ? (password => $self->{password}) : (),
        );
        @reply = $self->{connection}->$method(@arguments);
        1;
    };
    if (!$good) {
        my $error = $@ || 'failed';
        delete $self->{connection};
        croak "$command: $error";
    }
    return wantarray ? @reply : $reply[0];
}

sub list {
    my ($self, $key) = @_;

    return $self->cli('LRANGE', $key // KEY, 0, -1);
}

sub wait_list {
    my ($self, $key, $n, $timeout) = @_;
    my $length = 0;

    wait_for { ($length = eval { $self->cli('LLEN', $key) } // -1) >= $n }
        $timeout
        or croak "$length items of $n on $key in time";
    return $self->list($key);
}

sub wait_events {
    my ($self, $n, $timeout) = @_;

    return map { decode_json($_) } $self->wait_list(KEY, $n, $timeout);
}

sub complaints {
    my ($self) = @_;

    return map {"redis.log: $_"} grep {/=== REDIS BUG REPORT|Sanitizer/}
        split /\n/, $self->log;
}

1;
