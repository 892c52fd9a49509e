#!/usr/bin/env node
/** The operator's command line. */
import { addCancel } from './cli/commands/cancel.ts';
import { addControl } from './cli/commands/control.ts';
import { deleteQueueTool } from './cli/commands/delete-queue.ts';
import { addDoctor } from './cli/commands/doctor.ts';
import { addDrill } from './cli/commands/drill.ts';
import { addFixity } from './cli/commands/fixity.ts';
import { addFleet } from './cli/commands/fleet.ts';
import { addGateway } from './cli/commands/gateway.ts';
import { addLimits } from './cli/commands/limits.ts';
import { addLists } from './cli/commands/lists.ts';
import { addManifest } from './cli/commands/manifest.ts';
import { addRecall } from './cli/commands/recall.ts';
import { metricsTool } from './cli/commands/metrics.ts';
import { addPin } from './cli/commands/pin.ts';
import { populateBundlesTool } from './cli/commands/populate-bundles.ts';
import { purgeStaleWorkflowsTool } from './cli/commands/purge-stale-workflows.ts';
import { reconcileTool } from './cli/commands/reconcile.ts';
import { addPrioritize } from './cli/commands/prioritize.ts';
import { addScale } from './cli/commands/scale.ts';
import { addSchedules } from './cli/commands/schedules.ts';
import { setupDirsTool } from './cli/commands/setup-dirs.ts';
import { addShow } from './cli/commands/show.ts';
import { addStart } from './cli/commands/start.ts';
import { addSteer } from './cli/commands/steer.ts';
import { addStatus } from './cli/commands/status.ts';
import { addToken } from './cli/commands/token.ts';
import { addVerify } from './cli/commands/verify.ts';
import { createProgram, runProgram } from './cli/program.ts';
import { addTool } from './cli/tool.ts';

const program = createProgram('longshore', 'See and steer what Longshore does.', [
  'longshore status',
  'longshore workflows --status FAILURE',
  'longshore show run_17',
  'longshore resume run_17',
  'longshore doctor',
]);
addStatus(program);
addLists(program);
addShow(program);
addControl(program);
addPrioritize(program);
addStart(program);
addRecall(program);
addManifest(program);
addVerify(program);
addFixity(program);
addPin(program);
addFleet(program);
addCancel(program);
addSteer(program);
addScale(program);
addLimits(program);
addDoctor(program);
addDrill(program);
addSchedules(program);
addGateway(program);
addToken(program);
for (const tool of [
  metricsTool,
  populateBundlesTool,
  reconcileTool,
  purgeStaleWorkflowsTool,
  deleteQueueTool,
  setupDirsTool,
])
  addTool(program, tool);

await runProgram(program);
