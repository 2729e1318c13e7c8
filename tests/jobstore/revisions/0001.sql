-- What a site of revision 0001 held: a job that is done, one that can run, its child, and one that ran under a launcher.
INSERT INTO application (key, name, executable, description, preprocess, postprocess, envscript, python, owner, create_us,
  revision) VALUES (1, 'hello', 'echo hello', '', '', '', '', '', 'me', 1700000000000000, 1);
INSERT INTO session (key, session_id, request_id, kind, host, pid, owner, version, create_us, nodes, job_mode,
  workflow_filter, address) VALUES (1, '5e55104e-0000-4000-8000-000000000001', '5e55104e-0000-4000-8000-000000000002', 2,
  'gone', 4711, 'me', '1.0.0.dev1', 1700000000000000, 1, 'auto', '', '');
INSERT INTO job (key, job_id, state, needs, unmet, session, fence, attempt, tries, restarts, max_restarts, lost, revision,
  priority, num_nodes, ranks_per_node, node_packing_count, wall_time_minutes, application, name, workflow) VALUES
  (1, '10b00000-0000-4000-8000-000000000001', 9, 0, 0, NULL, 1, 1, 0, 0, 3, 0, 5, 0, 1, 1, 1, 1, 1, 'done', 'old'),
  (2, '10b00000-0000-4000-8000-000000000002', 5, 1024, 0, NULL, 0, 0, 0, 0, 3, 0, 2, 0, 1, 1, 1, 1, 1, 'ready', 'old'),
  (3, '10b00000-0000-4000-8000-000000000003', 2, 512, 1, NULL, 0, 0, 0, 0, 3, 0, 2, 0, 1, 1, 1, 1, NULL, 'child', 'old'),
  (4, '10b00000-0000-4000-8000-000000000004', 6, 0, 0, 1, 1, 1, 1, 0, 3, 0, 3, 0, 1, 1, 1, 1, 1, 'running', 'old');
INSERT INTO job_detail (key, create_us, owner, workdir, args, data) VALUES
  (1, 1700000000000001, 'me', 'old/done_10b00000_1', '', '{"x": 1}'),
  (2, 1700000000000002, 'me', 'old/ready_10b00000_2', 'world', '{}'),
  (3, 1700000000000003, 'me', 'old/child_10b00000_3', 'true', '{"é": [1.5, null]}'),
  (4, 1700000000000004, 'me', 'old/running_10b00000_4', '', '{}');
INSERT INTO edge (child, parent, met) VALUES (3, 2, 0);
INSERT INTO event (sequence, job, states, time_us, record_us, actor, attempt, exit_code, message) VALUES
  (1, 1, 'A', 1700000000000001, 1700000000000001, 1, 0, NULL, ''),
  (2, 1, 'CDE', 1700000000000001, 1700000000000001, 2, 0, NULL, ''),
  (3, 2, 'A', 1700000000000002, 1700000000000002, 1, 0, NULL, ''),
  (4, 2, 'CDE', 1700000000000002, 1700000000000002, 2, 0, NULL, ''),
  (5, 3, 'A', 1700000000000003, 1700000000000003, 1, 0, NULL, ''),
  (6, 3, 'B', 1700000000000003, 1700000000000003, 2, 0, NULL, ''),
  (7, 4, 'A', 1700000000000004, 1700000000000004, 1, 0, NULL, ''),
  (8, 4, 'CDE', 1700000000000004, 1700000000000004, 2, 0, NULL, ''),
  (9, 1, 'F', 1700000000000005, 1700000000000005, 3, 1, NULL, ''),
  (10, 1, 'G', 1700000000000006, 1700000000000006, 3, 1, 0, ''),
  (11, 1, 'HI', 1700000000000006, 1700000000000006, 2, 1, NULL, ''),
  (12, 4, 'F', 1700000000000007, 1700000000000007, 3, 1, NULL, '');
UPDATE counter SET job_key = 4, event_sequence = 12;
