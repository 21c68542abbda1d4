// Wakes opencode when a message of the mesh comes, and keeps it from editing what others have locked.
// All rules are in the program, which this starts and talks with in lines of JSON; docs/agents.md has
// them. It imports nothing that would have to be installed.
import { spawn } from "node:child_process"

const PROGRAM = "slm-mesh"
const OPTIONS = []

export const SlmMesh = async ({ client, directory }) => {
  let child, retry, over, session, mode, last = 0, pause = 500
  const children = new Set() // sessions of subagents
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
  const tell = async ({ id, text }) => {
    const body = { ...mode, parts: [{ type: "text", text }] }
    const result = await client.session.promptAsync({ path: { id: session }, body }).catch((error) => ({ error }))
    say(result.error ? { failed: id, reason: String(result.error.message ?? result.error) } : { told: id })
  }
  const start = () => {
    const began = Date.now()
    let rest = ""
    child = spawn(PROGRAM, [...OPTIONS, "session", "--agent", "opencode"], { stdio: ["pipe", "pipe", "ignore"] })
    child.stdout.setEncoding("utf8").on("data", (data) => {
      const lines = (rest + data).split("\n")
      rest = lines.pop()
      for (const { tell: text, context, allow } of lines.map((line) => JSON.parse(line))) {
        if (text) tell(text)
        else if (context) answer(context.id, context)
        else if (allow) answer(allow.id, allow)
      }
    })
    child.stdin.on("error", () => {})
    child.on("error", () => {}).on("close", () => {
      for (const id of asked.keys()) answer(id, {})
      pause = Date.now() - began > 60_000 ? 500 : Math.min(2 * pause, 60_000)
      if (!over) retry = setTimeout(start, pause).unref()
    })
    child.unref()
    if (session) say({ session })
  }
  start()
  return {
    dispose: async () => ((over = true), clearTimeout(retry), child.stdin.end()),
    event: async ({ event: { type, properties: about } }) => {
      if (type === "session.created" && about.info.parentID) children.add(about.info.id)
      if (type === "session.idle" && about.sessionID === session) say({ turn: "end" })
    },
    "chat.message": async ({ sessionID, agent, model }, { parts }) => {
      if (children.has(sessionID)) return
      if (session !== sessionID) say({ session: (session = sessionID) })
      mode = { agent, model } // what wakes it changes neither
      say({ prompt: parts.map((part) => part.text ?? "").join("\n").slice(0, 10_000) })
    },
    "tool.execute.before": async ({ tool }, { args }) => {
      say({ turn: "tool" })
      const files = ["edit", "write", "multiedit"].includes(tool) ? [args.filePath] : []
      const heads = args.patchText?.match(/^\s*\*\*\* .*$/gm) // of a patch, the names of its files
      if (!files[0] && !heads) return
      const { allow, reason } = await ask((id) => ({ edit: { id, files, patch: heads?.join("\n"), cwd: directory } }), 3000)
      if (allow === false) throw new Error(reason)
    },
    "tool.execute.after": async ({ tool, sessionID }, output) => {
      // The inbox has just shown what there is.
      if (sessionID !== session || tool.endsWith("mesh_inbox") || typeof output.output !== "string") return
      const { tell, text } = await ask((id) => ({ context: id }), 300)
      if (text) ((output.output += "\n\n" + text), say({ told: tell }))
    },
  }
}
