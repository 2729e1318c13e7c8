-- What came with revision 0009: what somebody did that has no events.
INSERT INTO audit (time_us, user_key, run_id, action, objects, count, detail) VALUES
  (1700000000000009, 1, NULL, 'CreateApplication', 'old', 1, 'true');
