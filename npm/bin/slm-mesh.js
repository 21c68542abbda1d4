#!/usr/bin/env node
// Becomes the program, which lies in the package for this system, or runs it where Node.js cannot.
"use strict";

const { spawn } = require("node:child_process");
const os = require("node:os");
const { name, version, optionalDependencies } = require("../package.json");

/** The path of the program; ends with a word on what to do if it is not there. */
function find() {
  const wanted = `${name}-${process.platform}-${process.arch}`;
  try {
    return require.resolve(`${wanted}/bin/slm-mesh`);
  } catch {
    const why = Object.hasOwn(optionalDependencies, wanted)
      ? `the package ${wanted}, which has the program, is not installed: ` +
        `install ${name}@${version} again, with optional dependencies`
      : `there is no program for ${process.platform} on ${process.arch}`;
    process.stderr.write(`slm-mesh: ${why}\n`);
    process.exit(1);
  }
}

const program = find();
const args = process.argv.slice(2);
// From 22.15 on: then no Node.js stays in memory beside each agent.
process.execve?.(program, [program, ...args], process.env);

const child = spawn(program, args, { stdio: "inherit" });
for (const signal of ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"]) {
  process.on(signal, () => child.kill(signal));
}
child.on("error", (error) => {
  process.stderr.write(`slm-mesh: ${error.message}\n`);
  process.exit(1);
});
child.on("exit", (code, signal) => process.exit(code ?? 128 + os.constants.signals[signal]));
