-- What came with revision 0003: time-outs in a row.
UPDATE job SET timeouts = 2, restarts = 2 WHERE key = 2;
