// Wakes Copilot CLI when a message of the mesh comes. All rules are in the program, which this starts
// and talks with in lines of JSON; docs/agents.md has them.
import { spawn } from "node:child_process"
import { joinSession } from "@github/copilot-sdk/extension"

const PROGRAM = "slm-mesh"
const OPTIONS = []

let child, last = 0, pause = 500
const asked = new Map() // questions without an answer
const say = (line) => child?.stdin.writable && child.stdin.write(JSON.stringify(line) + "\n")
const answer = (id, value) => (asked.get(id)?.(value), asked.delete(id))
// An answer that does not come must not keep the agent from working.
const ask = (line, ms) =>
  new Promise((done) => {
    asked.set(last, done)
    setTimeout(answer, ms, last, {}).unref()
    if (!say(line(last))) answer(last, {})
    last++
  })
const session = await joinSession({
  hooks: {
    onUserPromptSubmitted: async ({ prompt }) => void say({ prompt: prompt.slice(0, 10_000) }),
    onPreToolUse: async ({ toolName, toolArgs, cwd }) => {
      say({ turn: "tool" })
      if (!["edit", "create", "apply_patch"].includes(toolName)) return
      const files = toolArgs.path ? [toolArgs.path] : []
      const patch = JSON.stringify(toolArgs).match(/\*\*\* [^\\"]*/g)?.join("\n") // the names of its files
      const { allow, reason } = await ask((id) => ({ edit: { id, files, patch, cwd } }), 3000)
      if (allow === false) return { permissionDecision: "deny", permissionDecisionReason: reason }
    },
  },
})
session.on("session.idle", () => say({ turn: "end" }))
const tell = ({ id, text }) =>
  session.send({ prompt: text, mode: "enqueue" }).then(
    () => say({ told: id }),
    (error) => say({ failed: id, reason: String(error) }),
  )
const start = () => {
  const began = Date.now()
  let rest = ""
  child = spawn(PROGRAM, [...OPTIONS, "session", "--agent", "copilot-cli"], { stdio: ["pipe", "pipe", "ignore"] })
  child.stdout.setEncoding("utf8").on("data", (data) => {
    const lines = (rest + data).split("\n")
    rest = lines.pop()
    for (const { tell: text, allow } of lines.map((line) => JSON.parse(line))) {
      if (text) tell(text)
      else if (allow) answer(allow.id, allow)
    }
  })
  child.stdin.on("error", () => {})
  child.on("error", () => {}).on("close", () => {
    for (const id of asked.keys()) answer(id, {})
    pause = Date.now() - began > 60_000 ? 500 : Math.min(2 * pause, 60_000)
    setTimeout(start, pause)
  })
  say({ session: session.sessionId })
}
start()
