-- What came with revision 0002: a launch, and a job that is bound to it.
INSERT INTO launch (key, request_id, scheduler_id, project, queue, nodes, wall_minutes, job_mode, wf_filter, sched_flags,
  command, state, prescheduled_only, from_balsam, owner, create_us, revision) VALUES (1,
  '1a07c400-0000-4000-8000-000000000001', '815', '', '', 1, 60, 'auto', '', '', '', 'RUNNING', 0, 1, 'me',
  1700000000000000, 1);
INSERT INTO job (key, job_id, state, needs, unmet, fence, attempt, tries, restarts, max_restarts, lost, revision, priority,
  num_nodes, ranks_per_node, node_packing_count, wall_time_minutes, application, name, workflow, launch) VALUES
  (5, '10b00000-0000-4000-8000-000000000005', 5, 0, 0, 0, 0, 0, 0, 3, 0, 2, 0, 1, 1, 1, 1, 1, 'bound', 'old', 1);
INSERT INTO job_detail (key, create_us, owner, workdir) VALUES (5, 1700000000000008, 'me', 'old/bound_10b00000_5');
INSERT INTO event (sequence, job, states, time_us, record_us, actor, attempt, message) VALUES
  (13, 5, 'A', 1700000000000008, 1700000000000008, 1, 0, ''),
  (14, 5, 'CDE', 1700000000000008, 1700000000000008, 2, 0, '');
UPDATE counter SET job_key = 5, event_sequence = 14;
