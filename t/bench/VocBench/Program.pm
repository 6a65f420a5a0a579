package VocBench::Program;

# A program in the background that ends with the benchmark.

use strict;
use warnings;

use VocTest qw(end_session private_dir reap register session slurp spawn
    wait_for);

sub new {
    my ($class, @command) = @_;
    my $self = bless { dir => private_dir() }, $class;

    $self->{pid} = spawn("$self->{dir}/log", @command);
    register($self);
    return $self;
}

sub log   { return slurp("$_[0]{dir}/log") }
sub pids  { return session($_[0]{pid}) }
sub ended { return !$_[0]{pid} || reap($_[0]{pid}) }

sub stop {
    my ($self) = @_;
    my $pid = $self->{pid} or return;

    kill 'TERM', session($pid);
    wait_for { reap($pid); !session($pid) } 5 or end_session($pid);
    delete $self->{pid};
}

sub complaints { return }

1;
