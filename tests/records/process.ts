/** Another process that uses the store: `process.ts <what> <arguments>`; prints one JSON value a line. */
import { loadConfig } from '../../config/index.ts';
import { openStore } from '../../workers/store.ts';
import { landMillionFiles } from '../catalog/million.ts';
import { makeRegistration } from '../catalog/registration.ts';
import { makeWorkflow } from './workflow.ts';

const [what, ...args] = process.argv.slice(2);
const say = (value: unknown): void => {
  process.stdout.write(`${JSON.stringify(value)}\n`);
};
const { config } = await loadConfig();
const store = await openStore(config);

switch (what) {
  case 'claim': {
    // Many claims of one step at the same time.
    const [workflow_id = '', times = '1', worker = ''] = args;
    for (let turn = 0; turn < Number(times); turn++) {
      const claim = { workflow_id, index: 0, worker, host: 'here' };
      const answer = await store.records.claim(claim, { max_losses: 1_000_000 });
      say(answer.verdict === 'run' ? answer.key : answer.verdict);
    }
    break;
  }
  case 'register': {
    // The same names as everybody else, in one order.
    const [names = '0', actor = ''] = args;
    const items = Array.from({ length: Number(names) }, (_, n) => makeRegistration({ name: `set-${n}` }));
    for (const outcome of await store.catalog.register(items, actor)) say(outcome.outcome);
    break;
  }
  case 'register-named':
    for (const name of args)
      say((await store.catalog.register([makeRegistration({ name })], 'doomed'))[0]?.outcome);
    break;
  case 'land': {
    // A workflow of one step from start to end, and the one that follows it.
    const [id = ''] = args;
    const workflow = makeWorkflow({ id, steps: [{ name: 'only' }] });
    await store.records.createWorkflow(workflow);
    const answer = await store.records.claim(
      { workflow_id: id, index: 0, worker: 'w', host: 'h' },
      { max_losses: 3 },
    );
    if (answer.verdict !== 'run') throw new Error(answer.verdict);
    const next = makeWorkflow({ id: `${id}-next` });
    say(await store.records.finish(answer.key, { outcome: 'success', result: [7], then: [next] }));
    break;
  }
  case 'start': {
    // Alone on its dataset.
    const [id = '', dataset_id = '0'] = args;
    const workflow = makeWorkflow({ id, dataset_id: Number(dataset_id) });
    say((await store.records.createWorkflow(workflow, { alone: true }))?.id ?? null);
    break;
  }
  case 'prioritize':
    for (const id of args) say(await store.records.prioritize(id, { actor: 'doomed', priority: 1 }));
    break;
  case 'pause':
    for (const id of args) say(await store.records.pause(id, { actor: 'doomed', take_out: false }));
    break;
  case 'delete':
    for (const id of args) say(await store.records.deleteWorkflow(id));
    break;
  case 'register-until-killed':
    for (let n = 0; ; n++) {
      await store.catalog.register([makeRegistration({ name: `set-${n}` })], 'doomed');
      say(n);
    }
  case 'states-until-killed':
    for (let n = 0; ; n++) {
      for (const id of args.map(Number)) await store.catalog.addState(id, 'READY', { n });
      say(n);
    }
  case 'files-until-killed': {
    const [id = '0', rows_in_all = '0'] = args;
    for (let turn = 0; ; turn++) {
      const rows = Array.from({ length: Number(rows_in_all) }, (_, n) => ({
        path: `f${String(n).padStart(6, '0')}`,
        type: 'file' as const,
        size: turn,
        md5: null,
        digests: {},
      }));
      await store.catalog.putFiles(Number(id), rows, `turn-${turn}`);
      say(turn);
    }
  }
  case 'copies': {
    // Records a copy and proves it, again and again; says each turn after it was written.
    const [archive = '', turns = '0', ...ids] = args;
    const last = turns === 'until killed' ? Number.POSITIVE_INFINITY : Number(turns);
    for (let turn = 0; turn < last; turn++) {
      for (const id of ids.map(Number)) {
        const at = new Date().toISOString();
        await store.catalog.putCopy(id, { archive, key: 'key', size: 1, digests: {}, stored_at: at });
        const found = { level: 'stream', result: 'ok', bytes: 1, seconds: 0 } as const;
        const line = { ...found, actor: 'test', details: { turn } };
        await store.catalog.addProof({ dataset_id: id, archive, key: 'key', at, ...line });
      }
      say(turn);
    }
    break;
  }
  case 'steps': {
    // Workflows from start to end, with progress, as a busy worker writes them.
    for (let n = 0; n < Number(args[0]); n++) {
      const workflow = makeWorkflow({});
      await store.records.createWorkflow(workflow);
      for (const index of workflow.steps.keys()) {
        const claim = { workflow_id: workflow.id, index, worker: `w${process.pid}`, host: 'here' };
        const answer = await store.records.claim(claim, { max_losses: 3 });
        if (answer.verdict !== 'run') throw new Error(answer.verdict);
        for (let p = 0; p < 3; p++) await store.records.progress(answer.key, { name: 'p', done: p });
        await store.records.finish(answer.key, { outcome: 'success', result: [index] });
      }
      say(workflow.id);
    }
    break;
  }
  case 'share': {
    // Of each workflow the steps of this process, begun at the very moment in which another one ends the step before.
    const [parity = '0', ...ids] = args;
    for (const workflow_id of ids) {
      const { steps } = (await store.records.workflow(workflow_id)) ?? { steps: [] };
      for (const index of steps.keys()) {
        if (index % 2 !== Number(parity)) continue;
        const claim = { workflow_id, index, worker: `w${process.pid}`, host: 'here' };
        let answer = await store.records.claim(claim, { max_losses: 0 });
        while (answer.verdict === 'early') answer = await store.records.claim(claim, { max_losses: 0 });
        if (answer.verdict !== 'run') throw new Error(answer.verdict);
        await store.records.progress(answer.key, { name: 'p', done: index });
        await store.records.finish(answer.key, { outcome: 'success', result: [index] });
      }
      say(workflow_id);
    }
    break;
  }
  case 'million-files':
    say(await landMillionFiles(store.catalog, Number(args[0])));
    break;
  default:
    throw new Error(`nothing is called ${what}`);
}
await store.close();
