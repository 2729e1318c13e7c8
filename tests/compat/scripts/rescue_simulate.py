"""Steps through time, and never gets to the end from the start; from a checkpoint it does."""

import argparse
import shutil
import time

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int)
parser.add_argument("--restart", metavar="CHECKPOINT")
options = parser.parse_args()

if options.restart:
    with open(options.restart) as checkpoint:
        step = int(checkpoint.read())
    shutil.copy(options.restart, "trajectory.txt")
    with open("trajectory.txt", "a") as trajectory:
        trajectory.write(f"{options.steps}\n")
else:
    with open("checkpoint.new", "w") as checkpoint:
        checkpoint.write("400\n")
    shutil.move("checkpoint.new", "checkpoint.txt")
    time.sleep(600)
