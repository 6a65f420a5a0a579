package VocTest::Proxy;

# A TCP proxy between nginx and Redis, in a process of its own, that does what
# networks do.
#
#   my $proxy = VocTest::Proxy->new(to => $redis->port)->start;
#   $proxy->port;
#   $proxy->mode('pass');
#   $proxy->mode('delay', 0.2);     # s, each chunk in both directions
#   $proxy->mode('cut', 1000);      # every new connection ends after so many
#                                   # bytes to Redis; that part still goes there
#   $proxy->mode('cut-reply', 7);   # ... from Redis; Redis gets all
#   $proxy->mode('blackhole');      # accepts, and moves nothing
#   $proxy->mode('drip', 0.001);    # byte by byte, so many s apart
#   $proxy->mode('hold');           # what goes to Redis on the connections of
#                                   # now stays here, even once nginx has
#                                   # closed them; new ones pass
#   $proxy->mode('release');        # ... and goes on to Redis now
#   $proxy->held;                   # bytes that are held
#   $proxy->connections;            # how many there have been
#   $proxy->stop;
#
# A mode holds for old and new connections, but for cut (new ones) and hold.

use strict;
use warnings;

use Carp qw(croak);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use List::Util qw(min);
use POSIX ();
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);
use VocTest qw(
    complain private_dir reap register slurp spawn_module started wait_for
);

sub new {
    my ($class, %options) = @_;
    my $self = bless { %options, dir => private_dir() }, $class;

    register($self);
    return $self;
}

sub port { return $_[0]{port} }

sub start {
    my ($self) = @_;

    $self->{pid} = spawn_module($self->{dir}, __PACKAGE__,
        to => $self->{to}, dir => $self->{dir});
    started("$self->{dir}/port");
    $self->{port} = $self->ask('port');
    return $self;
}

# A line to the proxy, a line back.
sub ask {
    my ($self, @words) = @_;
    my $socket = IO::Socket::UNIX->new(Peer => "$self->{dir}/control")
        or croak "proxy: $!";

    $socket->autoflush(1);
    print {$socket} "@words\n";
    my $answer = <$socket> // croak 'no answer of the proxy';
    chomp $answer;
    croak "proxy: $answer" if $answer =~ /^unknown/;
    return $answer;
}

sub mode        { my ($self, @words) = @_; $self->ask(@words); return $self }
sub held        { return $_[0]->ask('held') }
sub connections { return $_[0]->ask('connections') }

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return $self;

    kill 'TERM', $pid;
    wait_for { reap($pid) } or complain("proxy $pid did not end");
    return $self;
}

sub complaints {
    my ($self) = @_;

    return map {"proxy: $_"} split /\n/, slurp("$self->{dir}/output.log");
}

# ---- in a process of its own -------------------------------------------------

my $stop = 0;
my ($to, @pairs, $made);
my ($mode, $value) = ('pass', 0);

# Towards Redis is up.  A direction: from, to, what waits to be written with
# the time when it may be, how much has passed.
sub run {
    my %options = @_;

    $SIG{$_} = sub { $stop = 1 }
        for qw(HUP INT TERM);
    $to   = $options{to};
    $made = 0;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64)
        or die "listen: $@\n";
    my $control = IO::Socket::UNIX->new(Local => "$options{dir}/control",
        Listen => 8) or die "listen: $!\n";
    open my $file, '>', "$options{dir}/port" or die "port: $!\n";
    close $file;

    while (!$stop) {
        my $now  = time;
        my $wait = min(1, map { $_ - $now } map { due($_) } @pairs);
        my ($ready) = IO::Select::select(
            IO::Select->new($listen, $control, map { readable($_) } @pairs),
            undef, undef, $wait < 0 ? 0 : $wait);

        for my $socket (@{ $ready // [] }) {
            if    ($socket == $listen)  { open_pair(scalar $listen->accept) }
            elsif ($socket == $control) { command(scalar $control->accept, $listen) }
            else                        { receive($socket) }
        }
        flush($_) for @pairs;
        @pairs = grep { !$_->{dead} } @pairs;
    }
    POSIX::_exit(0);
}

sub command {
    my ($socket, $listen) = @_;

    $socket or return;
    my ($word, $number) = split ' ', scalar(<$socket>) // '';
    my $answer = 'done';
    if    ($word eq 'port')        { $answer = $listen->sockport }
    elsif ($word eq 'connections') { $answer = $made }
    elsif ($word eq 'held') {
        $answer = 0;
        $answer += length join '', map { $_->[1] } @{ $_->{up} }
            for grep { $_->{hold} } @pairs;
    }
    elsif ($word eq 'hold') { $_->{hold} = 1 for @pairs }
    elsif ($word eq 'release') {
        $_->{hold} = 0 for @pairs;
    }
    elsif ($word =~ /^(?:pass|delay|cut|cut-reply|blackhole|drip)$/) {
        ($mode, $value) = ($word, $number // 0);
    }
    else { $answer = "unknown: $word" }
    print {$socket} "$answer\n";
    return;
}

sub open_pair {
    my ($client) = @_;

    $client or return;
    my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $to);
    $made++;
    if (!$server) {
        $client->close;
        return;
    }
    for my $socket ($client, $server) {
        $socket->blocking(0);
        setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    }
    push @pairs, {
        client => $client,
        server => $server,
        up     => [],
        down   => [],
        limit  => $mode eq 'cut'       ? $value : undef,
        reply  => $mode eq 'cut-reply' ? $value : undef,
    };
    return;
}

sub readable {
    my ($pair) = @_;

    return if $mode eq 'blackhole' && !$pair->{hold};
    return grep {$_} @$pair{qw(client server)};
}

# When something may be written next.
sub due {
    my ($pair) = @_;

    return if $mode eq 'blackhole';
    return map { $_->[0][0] } grep {@$_}
        ($pair->{hold} ? () : $pair->{up}), $pair->{down};
}

sub receive {
    my ($socket) = @_;
    my ($pair) = grep {
        ($_->{client} // 0) == $socket || ($_->{server} // 0) == $socket
    } @pairs;
    $pair or return;
    my $up = ($pair->{client} // 0) == $socket;
    my $n = sysread $socket, my $bytes, 65536;

    return if !defined $n && $!{EAGAIN};
    if (!$n) {
        $up ? leave($pair) : finish($pair);
        return;
    }
    return if !$up && !$pair->{client};

    my $queue = $up ? $pair->{up} : $pair->{down};
    my $when = time + ($mode eq 'delay' ? $value : 0);
    if ($mode eq 'drip') {
        $when = $queue->[-1][0] if @$queue && $queue->[-1][0] > $when;
        push @$queue, map { [$when += $value, $_] } split //, $bytes;
        return;
    }
    push @$queue, [$when, $bytes];
    return;
}

# nginx has closed, or is cut off; Redis still gets what is on its way.
sub leave {
    my ($pair) = @_;

    if (my $client = delete $pair->{client}) {
        $client->close;
    }
    $pair->{down} = [];
    return;
}

sub finish {
    my ($pair) = @_;

    leave($pair);
    (delete $pair->{server})->close;
    $pair->{dead} = 1;
    return;
}

# Writes what is due, up to limit bytes; false where the limit is reached.
sub put {
    my ($queue, $socket, $limit) = @_;

    while (@$queue && $queue->[0][0] <= time) {
        my $bytes = $queue->[0][1];
        $bytes = substr $bytes, 0, $$limit if defined $$limit;
        my $n = syswrite $socket, $bytes;
        return 1 if !defined $n;
        substr $queue->[0][1], 0, $n, '';
        shift @$queue if $queue->[0][1] eq '';
        next if !defined $$limit;
        return 0 if ($$limit -= $n) <= 0;
    }
    return 1;
}

sub flush {
    my ($pair) = @_;

    return if $pair->{dead} || $mode eq 'blackhole' && !$pair->{hold};
    if (!$pair->{hold} && !put($pair->{up}, $pair->{server}, \$pair->{limit}))
    {
        $pair->{up} = [];
        leave($pair);
    }
    if ($pair->{client}
        && !put($pair->{down}, $pair->{client}, \$pair->{reply}))
    {
        leave($pair);
    }
    # Redis reads what is there, then the end; its own end is awaited.
    if (!$pair->{client} && !$pair->{hold} && !@{ $pair->{up} }
        && !$pair->{shut}++)
    {
        shutdown $pair->{server}, 1;
    }
    return;
}

1;
