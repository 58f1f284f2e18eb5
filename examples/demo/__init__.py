"""The whole of triggerd at work, on this machine: `python -m examples.demo`.

__main__   conducts: starts everything, shows the progress, checks and reports
tasks      what a user of triggerd writes; start reading here
worker     a process: starts a few hundred of these tasks with boto3, and is gone before they end
resumer    a process: takes the events and lets each task go on
jobs       which jobs there are, and what their tasks must be resumed with
world      AWS, played by moto, and what happens on it without our doing
cast       everybody who plays a part: Valkey, moto, daemon, resumer, worker
processes  child processes that end with the demo
progress   how far it is, while it runs
records    what worker and resumer write down for the check
verify     was every task resumed exactly once, with the right payload?
report     the table at the end
"""
