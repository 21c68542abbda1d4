// Gives pi the tools of the mesh, wakes it when a message comes, and keeps it from editing what others
// have locked. All rules are in the program, which this starts and talks with in lines of JSON;
// docs/agents.md has them.
import { spawn } from "node:child_process"

const PROGRAM = "slm-mesh"
const OPTIONS: string[] = []

export default function (pi: any) {
  let child: any, retry: any, over = false, session: string, last = 0, pause = 500
  const asked = new Map<number, (value: any) => void>() // questions without an answer
  const say = (line: object) => child?.stdin.writable && child.stdin.write(JSON.stringify(line) + "\n")
  const answer = (id: number, value: any) => (asked.get(id)?.(value), asked.delete(id))
  // An answer that does not come must not keep the agent from working.
  const ask = (line: (id: number) => object, ms: number) =>
    new Promise<any>((done) => {
      asked.set(last, done)
      setTimeout(answer, ms, last, {}).unref()
      if (!say(line(last))) answer(last, {})
      last++
    })
  const tell = ({ id, text }: any) => {
    try {
      pi.sendUserMessage(text, { deliverAs: "steer" })
      say({ told: id })
    } catch (error) {
      say({ failed: id, reason: String(error) })
    }
  }
  const start = () => {
    const began = Date.now()
    let rest = ""
    child = spawn(PROGRAM, [...OPTIONS, "session", "--agent", "pi"], { stdio: ["pipe", "pipe", "ignore"] })
    child.stdout.setEncoding("utf8").on("data", (data: string) => {
      const lines = (rest + data).split("\n")
      rest = lines.pop()!
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
    say({ session })
  }
  pi.registerMcpServer?.("slm-mesh", { command: PROGRAM, args: [...OPTIONS, "mcp"], exposure: "direct" })
  pi.on("session_start", (_: any, ctx: any) => {
    session = ctx.sessionManager.getSessionId()
    over = false
    if (!child) start()
  })
  pi.on("session_shutdown", () => {
    over = true
    clearTimeout(retry)
    child?.stdin.end()
    child = undefined
  })
  pi.on("input", ({ text }: any) => void say({ prompt: text.slice(0, 10_000) }))
  pi.on("agent_settled", () => void say({ turn: "end" }))
  pi.on("tool_call", async ({ toolName, input }: any, { cwd }: any) => {
    say({ turn: "tool" })
    if (toolName !== "edit" && toolName !== "write") return
    const { allow, reason } = await ask((id) => ({ edit: { id, files: [input.path], cwd } }), 3000)
    if (allow === false) return { block: true, reason }
  })
  pi.on("tool_result", async ({ toolName, content, structuredContent }: any) => {
    if (toolName.endsWith("mesh_inbox")) return // it has just shown what there is
    const { tell, text } = await ask((id) => ({ context: id }), 300)
    if (!text) return
    say({ told: tell })
    return { content: [...content, { type: "text", text }], structuredContent }
  })
}
