package VocTest::Sender;

# Steady load: events over several keep-alive connections, each of them a
# process of its own that writes down what it sends and what it is answered.
#
#   my $sender = VocTest::Sender->new(
#       port        => $nginx->port,
#       connections => 4,
#       rate        => 100,     # events a second and connection; 0: no limit
#       count       => 1000,    # ends by itself after so many; 0: never
#       timeout     => 20,      # s for an answer
#       tls         => 1,
#       path        => '/voc',
#       padding     => 0,       # bytes of an extra field
#   )->start;
#   $sender->stop;              # each connection ends its request first
#   $sender->wait;              # for the end of a sender with a count
#   $sender->read;              # takes in what was written meanwhile
#   $sender->sent;              # callid => 1, all that went out
#   $sender->accepted;          # callids that got their 200, in their order
#                               # on their connection: [[...], [...], ...]
#   $sender->count('200');      # answers of a kind: a status, 'broken'
#                               # (no whole answer), 'handshake' (broken
#                               # there), 'refused' (no connection)
#   $sender->others;            # lines with another status than 200
#
# A callid is <name>-<connection>-<number>; numbers grow on a connection.  It
# is written down before it is sent: whatever is on the list and not in sent()
# was made up.

use strict;
use warnings;

use Carp qw(croak);
use POSIX ();
use Time::HiRes qw(sleep time);
use VocTest
    qw(complain private_dir reap register slow spawn_module started wait_for);
use VocTest::Client qw(query sample);

my $number = 0;

sub new {
    my ($class, %options) = @_;
    my $self = bless {
        connections => 4,
        rate        => 100,
        count       => 0,
        timeout     => 20,
        tls         => 1,
        path        => '/voc',
        padding     => 0,
        %options,
        name     => 's' . ++$number,
        dir      => private_dir(),
        pids     => [],
        sent     => {},
        accepted => [],
        counts   => {},
        others   => [],
        offset   => [],
    }, $class;

    register($self);
    return $self;
}

sub log_name { return "$_[0]{dir}/$_[1].log" }

sub start {
    my ($self) = @_;
    my @logs = map { $self->log_name($_) } 0 .. $self->{connections} - 1;

    for my $i (0 .. $#logs) {
        push @{ $self->{pids} }, spawn_module($self->{dir}, __PACKAGE__,
            log => $logs[$i], connection => $i,
            map { $_ => $self->{$_} }
                qw(port rate count timeout tls path padding name));
    }
    started($_) for @logs;
    $self->wait_more(1);
    return $self;
}

# Until n more were answered 200 than were when this was called.
sub wait_more {
    my ($self, $n, $timeout) = @_;

    $self->read;
    my $goal = $self->count(200) + $n;
    wait_for { $self->read; $self->count(200) >= $goal } $timeout // 20
        or croak "$n answers of 200 did not come: " . $self->summary;
    return $self;
}

sub wait {
    my ($self, $timeout) = @_;

    for my $pid (@{ $self->{pids} }) {
        wait_for { reap($pid) } $timeout // 30
            or complain("sender $pid did not end");
    }
    $self->{pids} = [];
    return $self->read;
}

sub stop {
    my ($self) = @_;

    kill 'TERM', @{ $self->{pids} };
    return $self->wait;
}

sub complaints {
    my ($self) = @_;

    return map {"sender: $_"} split /\n/,
        VocTest::slurp("$self->{dir}/output.log");
}

# ---- what was written down ---------------------------------------------------

sub read {
    my ($self) = @_;

    for my $i (0 .. $self->{connections} - 1) {
        open my $file, '<', $self->log_name($i) or next;
        seek $file, $self->{offset}[$i] // 0, 0;
        while (my $line = <$file>) {
            last if $line !~ /\n\z/;
            $self->{offset}[$i] += length $line;
            chomp $line;
            $self->take($i, $line);
        }
    }
    return $self;
}

sub take {
    my ($self, $i, $line) = @_;
    my ($what, $callid) = split / /, $line;

    if ($what eq 'sent') {
        $self->{sent}{$callid} = 1;
        return;
    }
    $self->{counts}{$what}++;
    push @{ $self->{accepted}[$i] }, $callid if $what eq '200';
    push @{ $self->{others} }, $line if $what !~ /^(?:200|broken|handshake|refused)$/;
    return;
}

sub sent     { return $_[0]{sent} }
sub others   { return @{ $_[0]{others} } }
sub accepted { return [map { $_ // [] } @{ $_[0]{accepted} }] }
sub count    { return $_[0]{counts}{ $_[1] } // 0 }

sub summary {
    my ($self) = @_;

    return join ', ',
        map {"$_: $self->{counts}{$_}"} sort keys %{ $self->{counts} };
}

# ---- in a process of its own -------------------------------------------------

my $stop = 0;

sub run {
    my %options = @_;
    my $sequence = 0;
    my $client   = VocTest::Sender::Client->new(map { $_ => $options{$_} }
            qw(port tls timeout));

    $SIG{$_} = sub { $stop = 1 }
        for qw(HUP INT TERM);
    open my $log, '>>', $options{log} or die "$options{log}: $!\n";
    my $say = sub { syswrite $log, "@_\n" or POSIX::_exit(1) };
    my $next = time;

    while (!$stop && (!$options{count} || $sequence < $options{count})) {
        if (!eval { $client->connect if !$client->usable; 1 }) {
            my $what = $@ =~ /^TLS/ ? 'handshake' : 'refused';
            $say->($what, '-', $@ =~ s/\s+/ /gr);
            $client->close;
            sleep 0.02;
            next;
        }

        my $callid = "$options{name}-$options{connection}-" . ++$sequence;
        $say->('sent', $callid);
        $say->(send_one($client, $callid, %options));

        next if !$options{rate};
        $next += 1 / $options{rate};
        my $left = $next - time;
        $left > 0 ? sleep $left : ($next = time);
    }
    POSIX::_exit(0);
}

# What is to be written down about it.
sub send_one {
    my ($client, $callid, %options) = @_;
    my $query = query(sample('callRecordingAvailable', callid => $callid,
        $options{padding} ? (padding => 'x' x $options{padding}) : ()));

    my $answer = eval {
        $client->send("POST $options{path}?$query HTTP/1.1\r\n"
                . "Host: localhost\r\nContent-Length: 0\r\n\r\n")
            or die "not sent\n";
        $client->receive('POST') // die "closed\n";
    };
    if (!$answer) {
        my $error = $@ =~ s/ at \S+ line .*//sr;
        $client->close;
        return ('broken', $callid, $error =~ s/\s+/ /gr);
    }
    return ($answer->{status}, $callid) if $answer->{status} == 200;

    my $reason = eval { $answer->json->{reason} } // '';
    my $retry  = $answer->{headers}{'retry-after'} // '';
    return ($answer->{status}, $callid, $reason, "retry-after=$retry");
}

# A handshake with a stopped worker must not take for ever.
package VocTest::Sender::Client;

use strict;
use warnings;

use IO::Socket::IP;
use IO::Socket::SSL;

our @ISA = ('VocTest::Client');

sub connect {
    my ($self) = @_;
    my $socket = IO::Socket::IP->new(
        PeerHost => '127.0.0.1',
        PeerPort => $self->{port},
        Timeout  => $self->{timeout},
    ) or die "connect: $@\n";

    if ($self->{tls}) {
        IO::Socket::SSL->start_SSL($socket, SSL_verify_mode => SSL_VERIFY_NONE,
            Timeout => $self->{timeout}) or die "TLS: $SSL_ERROR\n";
    }
    @$self{qw(socket buffer)} = ($socket, '');
    return $self;
}

1;
