package VocTest::Consumer;

# Takes events off the list while a test runs, in a process of its own.
#
#   my $consumer = VocTest::Consumer->new(
#       socket => $redis->socket,
#       how    => 'BLMOVE',    # to DONE, safe against any end
#                              # or 'LPOP', 'BLPOP', each line to a file
#       key    => 'voc:events', done => 'voc:done', db => 0,
#   )->start;
#   $consumer->stop;
#   $consumer->lines;          # what LPOP, BLPOP took, in its order

use strict;
use warnings;

use POSIX ();
use Redis;
use Time::HiRes qw(sleep);
use VocTest qw(
    complain private_dir reap register slurp spawn_module started wait_for
);

sub new {
    my ($class, %options) = @_;
    my $self = bless {
        how  => 'BLMOVE',
        key  => 'voc:events',
        done => 'voc:done',
        db   => 0,
        %options,
        dir => private_dir(),
    }, $class;

    register($self);
    return $self;
}

sub start {
    my ($self) = @_;
    my $log = "$self->{dir}/lines";

    $self->{pid} = spawn_module($self->{dir}, __PACKAGE__, log => $log,
        map { $_ => $self->{$_} } qw(socket how key done db));
    started($log);
    return $self;
}

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return $self;

    kill 'TERM', $pid;
    wait_for { reap($pid) } or complain("consumer $pid did not end");
    return $self;
}

# Who reads while a line is being written may see a part of it.
sub lines {
    my ($self) = @_;
    my @lines = slurp("$self->{dir}/lines") =~ /^(.*)\n/mg;

    return @lines;
}

sub complaints {
    my ($self) = @_;

    return map {"consumer: $_"} split /\n/, slurp("$self->{dir}/output.log");
}

# ---- in a process of its own -------------------------------------------------

my $stop = 0;

sub run {
    my %options = @_;
    my $redis;

    $SIG{$_} = sub { $stop = 1 }
        for qw(HUP INT TERM);
    open my $log, '>>', $options{log} or die "$options{log}: $!\n";

    while (!$stop) {
        my $good = eval {
            $redis //= Redis->new(sock => $options{socket}, read_timeout => 5,
                on_connect => sub { $_[0]->select($options{db}) });
            if ($options{how} eq 'BLMOVE') {
                $redis->blmove(@options{qw(key done)}, 'LEFT', 'RIGHT', 0.2);
            }
            elsif ($options{how} eq 'BLPOP') {
                my (undef, $line) = $redis->blpop(split(/ /, $options{key}), 0.2);
                syswrite $log, "$line\n" if defined $line;
            }
            else {
                my $line = $redis->lpop($options{key});
                defined $line ? syswrite($log, "$line\n") : sleep 0.005;
            }
            1;
        };
        if (!$good) {
            undef $redis;
            sleep 0.02;
        }
    }
    POSIX::_exit(0);
}

1;
