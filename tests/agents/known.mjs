// The agents that are driven: what is installed, how each is started against a model of ours, and how
// each of them takes a model that fails. None is given a key that is one, or a way out: every address
// that they know is on loopback.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What the keys that agents are given have in common. Nobody may be told of one. */
export const canary = '-canary-';

/** A model that calls the tool that runs programs, with these arguments. */
const call = (args) => `tool args=${JSON.stringify(args).replaceAll(' ', '\\u0020').replaceAll('_', '\\u005f')}`;

/** A model that has an agent run a program. */
export const tool = (name, command) => agents[name].tool?.(command) ?? `tool cmd=${command.replaceAll(' ', '_')}`;

/**
 * What is `chosen` is a mode and a model that it offers, and what its model's server then sees of the
 * latter. An agent that tries again by itself may keep at it for longer than its silence is borne. What is
 * `expected` of each failure is how the turn ends: `done`, or a fault's code.
 */
export const agents = {
  codex: {
    package: '@zed-industries/codex-acp@0.16.0',
    bin: 'codex-acp',
    idleMs: 45_000, // it needs half a minute to give a broken model up, and says why
    command: (bin, url) => [
      bin, '-c', 'model="fake-model"', '-c', 'model_provider="fake"', '-c', 'model_providers.fake.name="fake"',
      '-c', `model_providers.fake.base_url="${url}/v1"`, '-c', 'model_providers.fake.wire_api="responses"',
      '-c', 'model_providers.fake.env_key="FAKE_KEY"',
    ],
    env: () => ({ FAKE_KEY: `sk${canary}codex-0123456789` }),
    chosen: { mode: 'auto', model: 'gpt-5.4', seen: '"gpt-5.4"' },
    // Its own sandbox is asked to be left, which is what it asks a person about.
    tool: (command) => call({ cmd: command, sandbox_permissions: 'require_escalated', justification: 'it is wanted' }),
    expected: {
      // It says of a refused key what it says of anything else that it does not know.
      'key refused': 'provider_unavailable', 'cut off': 'provider_unavailable', 'rate limited': 'provider_rate_limited',
      broken: 'provider_unavailable', unreachable: 'provider_unavailable',
    },
  },
  gemini: {
    package: '@google/gemini-cli@0.61.0',
    bin: 'gemini',
    idleMs: 25_000,
    chosen: { mode: 'autoEdit', model: 'gemini-2.5-pro', seen: 'gemini-2.5-pro:' },
    // It names what it keeps by the minute, and writes over it when it loads what began in the same one.
    resumesNextMinute: true,
    command: (bin) => [bin, '--acp', '-m', 'gemini-2.5-flash'],
    env: (url) => ({
      GOOGLE_GEMINI_BASE_URL: url, GEMINI_API_KEY: `AIza${canary}gemini-0123456789`, GEMINI_CLI_TRUST_WORKSPACE: 'true',
    }),
    prepare(home) {
      mkdirSync(join(home, '.gemini'), { recursive: true });
      const settings = { security: { auth: { selectedType: 'gemini-api-key' } }, privacy: { usageStatisticsEnabled: false } };
      writeFileSync(join(home, '.gemini/settings.json'), JSON.stringify(settings));
    },
    expected: {
      'key refused': 'provider_auth', 'cut off': 'provider_unavailable', 'rate limited': 'provider_timeout',
      broken: 'provider_timeout', unreachable: 'provider_timeout',
    },
  },
  claude: {
    package: '@agentclientprotocol/claude-agent-acp@0.100.0',
    bin: 'claude-agent-acp',
    idleMs: 25_000,
    chosen: { mode: 'acceptEdits', model: 'haiku', seen: 'haiku' },
    command: (bin) => [bin],
    env: (url) => ({
      ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: `sk${canary}claude-0123456789`, CLAUDE_CODE_MAX_RETRIES: '2',
    }),
    expected: {
      // What was cut off it asks for once more, in one piece.
      'key refused': 'provider_auth', 'cut off': 'done', 'rate limited': 'provider_rate_limited',
      broken: 'provider_unavailable', unreachable: 'provider_unavailable',
    },
  },
  opencode: {
    package: 'opencode-ai@1.18.33',
    bin: 'opencode',
    idleMs: 25_000,
    chosen: { mode: 'plan', model: 'fake/other', seen: '"other"' },
    command: (bin) => [bin, 'acp'],
    env: (url) => ({
      FAKE_KEY: `sk${canary}opencode-0123456789`,
      OPENCODE_DISABLE_MODELS_FETCH: '1',
      OPENCODE_CONFIG_CONTENT: JSON.stringify({
        model: 'fake/fake-model', small_model: 'fake/fake-model', autoupdate: false, share: 'disabled',
        permission: { bash: 'ask' },
        provider: { fake: {
          npm: '@ai-sdk/openai-compatible',
          options: { baseURL: `${url}/v1`, apiKey: '{env:FAKE_KEY}' },
          models: Object.fromEntries(['fake-model', 'other'].map((it) => [it, { limit: { context: 100_000, output: 10_000 } }])),
        } },
      }),
    }),
    expected: {
      // It says of a refused key what its server wrote, and nothing that can be told from anything else.
      'key refused': 'provider_unavailable', 'cut off': 'provider_timeout', 'rate limited': 'provider_timeout',
      broken: 'provider_timeout', unreachable: 'provider_timeout',
    },
  },
  goose: {
    package: '@aaif/goose-binary-linux-x64@0.20.2',
    bin: 'goose',
    idleMs: 45_000,
    chosen: { mode: 'chat', model: 'fake-model', seen: '"fake-model"' }, // the only one that it offers
    command: (bin) => [bin, 'acp'],
    env: (url) => ({
      GOOSE_PROVIDER: 'openai', GOOSE_MODEL: 'fake-model', GOOSE_MODE: 'approve', OPENAI_HOST: url,
      OPENAI_API_KEY: `sk${canary}goose-0123456789`,
    }),
    tool: (command) => call({ command }),
    // Whatever its model does, it says so as its answer, and that it is done.
    expected: { 'key refused': 'done', 'cut off': 'done', 'rate limited': 'done', broken: 'done', unreachable: 'done' },
  },
};
