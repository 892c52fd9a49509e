/**
 * The process of an attempt, in its own process group, so that it can be stopped with all it started, cannot hold up its
 * worker, and runs the code that is on disk now. A fresh one for each, unless the task's limits let one process take
 * several attempts; then it ends after the first that has left a trace. The worker speaks over the IPC channel.
 *
 * This is its program for a task that runs from its source; code/compile-task.ts writes the other one.
 */
import { loadTask, taskFile } from '../../tasks/registry.ts';
import { agreementOf } from '../code/agreed-code.ts';
import { endUnlessAgreed } from './agreement.ts';
import { CodeReader } from '../code/code-graph.ts';
import { pinCode, versionOf } from '../code/code-version.ts';
import { runAttempts } from './task-attempts.ts';

const [name = ''] = process.argv.slice(2);
const reader = new CodeReader();

endUnlessAgreed(agreementOf(reader));
runAttempts(name, {
  version: () => {
    const graph = reader.graph(taskFile(name));
    pinCode(graph);
    return versionOf(graph.digest);
  },
  load: () => loadTask(name),
});
