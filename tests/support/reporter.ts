import { writeSync } from 'node:fs';
import type { Reporter, SerializedError, TestCase, TestModule } from 'vitest/node';

/**
 * Ends the run's output with `N passed, N failed[, N skipped]`, the line that CI reads, and says loudly what did not
 * run. A file that could not be loaded and an error outside of any test count as failures: a suite that loses a file
 * must not look green.
 */
export default class SummaryReporter implements Reporter {
  private line = '0 passed, 1 failed';

  onInit(): void {
    // After everything else: the default reporter and the teardown of the services print at the end, too.
    process.once('exit', () => writeSync(1, `${this.line}\n`));
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const skipped = tests.filter((test) => test.result().state === 'skipped');
    const passed = tests.filter((test) => test.result().state === 'passed');
    const failed = tests.length - skipped.length - passed.length;
    const broken = modules.filter((module) => module.errors().length > 0);
    const failures = failed + broken.length + unhandled.length;
    if (skipped.length > 0) {
      const lines = skipped.map(
        (test) => `  ${test.module.relativeModuleId} > ${test.fullName}${reason(test)}`,
      );
      writeSync(1, `\nDID NOT RUN (${skipped.length}):\n${lines.join('\n')}\n`);
    }
    this.line = `${passed.length} passed, ${failures} failed`;
    if (skipped.length > 0) this.line += `, ${skipped.length} skipped`;
  }
}

/** The note of `context.skip('why')`. */
function reason(test: TestCase): string {
  const result = test.result();
  return result.state === 'skipped' && result.note !== undefined ? `: ${result.note}` : '';
}
