"""What four providers' programs say over HTTP, as far as agents need it: a request read, an answer
written. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

# An event of a stream: its name, where the wire has names, and its data.
Event = tuple[str | None, Any]


@dataclass
class Entry:
    """One part of a conversation."""

    # "model": said by the model; "result": of a tool; "user": all else, texts of hooks too.
    who: str
    text: str


@dataclass
class Tool:
    """A tool that is before the model."""

    name: str
    namespace: str | None
    schema: dict[str, Any]
    # Takes text, not JSON.
    free: bool = False


@dataclass
class Answer:
    """What the model says: a text, or the call of a tool."""

    text: str = ""
    tool: Tool | None = None
    arguments: Any = None


@dataclass
class Reading:
    """A request, whatever its wire."""

    entries: list[Entry] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)

    def newest(self) -> list[Entry]:
        """What has come since the model's last word."""
        found: list[Entry] = []
        for entry in reversed(self.entries):
            if entry.who == "model":
                break
            found.insert(0, entry)
        return found


def text_of(value: Any) -> str:
    """All texts within, in their order."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(text_of(one) for one in value)
    if isinstance(value, dict):
        for key in ("text", "content", "output", "response", "parts"):
            if key in value:
                return text_of(value[key])
        return "\n".join(text_of(one) for one in value.values())
    return ""


class Anthropic:
    """`/v1/messages`"""

    @staticmethod
    def read(body: dict[str, Any]) -> Reading:
        reading = Reading()
        for message in body.get("messages", []):
            content = message.get("content")
            for part in content if isinstance(content, list) else [content]:
                who = "model" if message.get("role") == "assistant" else "user"
                if isinstance(part, dict) and part.get("type") == "tool_result":
                    who = "result"
                reading.entries.append(Entry(who, text_of(part)))
        for tool in body.get("tools", []):
            # One whose loading is deferred is a name to the model, and no more.
            if not tool.get("defer_loading"):
                reading.tools.append(
                    Tool(tool.get("name", ""), None, tool.get("input_schema") or {})
                )
        return reading

    @staticmethod
    def stream(number: int, body: dict[str, Any], answer: Answer) -> Iterator[Event]:
        def event(kind: str, **data: Any) -> Event:
            return kind, {"type": kind, **data}

        yield event("message_start", message=Anthropic.whole(number, body, None))
        if answer.tool:
            block = {
                "type": "tool_use",
                "id": f"toolu_{number}",
                "name": answer.tool.name,
                "input": {},
            }
            delta = {"type": "input_json_delta", "partial_json": json.dumps(answer.arguments)}
        else:
            block = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": answer.text}
        yield event("content_block_start", index=0, content_block=block)
        yield event("content_block_delta", index=0, delta=delta)
        yield event("content_block_stop", index=0)
        reason = "tool_use" if answer.tool else "end_turn"
        yield event(
            "message_delta",
            delta={"stop_reason": reason, "stop_sequence": None},
            usage={"output_tokens": 2},
        )
        yield event("message_stop")

    @staticmethod
    def whole(number: int, body: dict[str, Any], answer: Answer | None) -> dict[str, Any]:
        return {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "content": [{"type": "text", "text": answer.text}] if answer else [],
            "stop_reason": "end_turn" if answer else None,
            "stop_sequence": None,
            "usage": {"input_tokens": 2, "output_tokens": 2},
        }


class Responses:
    """`/responses`"""

    @staticmethod
    def read(body: dict[str, Any]) -> Reading:
        reading = Reading()
        items = body.get("input", [])
        for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
            kind = item.get("type") or "message"
            if kind.endswith("_output"):
                who = "result"
            elif item.get("role") == "assistant" or kind.endswith("_call") or kind == "reasoning":
                who = "model"
            else:
                who = "user"
            reading.entries.append(Entry(who, text_of(item)))
        for tool in body.get("tools", []):
            within = tool.get("tools") if tool.get("type") == "namespace" else None
            for one in [tool] if within is None else within:
                reading.tools.append(
                    Tool(
                        one.get("name") or one.get("type", ""),
                        None if within is None else tool.get("name"),
                        one.get("parameters") or {},
                        free=one.get("type") == "custom",
                    )
                )
        return reading

    @staticmethod
    def stream(number: int, body: dict[str, Any], answer: Answer) -> Iterator[Event]:
        item: dict[str, Any]
        if answer.tool:
            call = {"call_id": f"call_{number}", "name": answer.tool.name, "status": "completed"}
            if answer.tool.free:
                item = {
                    "type": "custom_tool_call",
                    "id": f"ctc_{number}",
                    "input": answer.arguments,
                    **call,
                }
            else:
                arguments = json.dumps(answer.arguments)
                item = {
                    "type": "function_call",
                    "id": f"fc_{number}",
                    "arguments": arguments,
                    **call,
                }
            if answer.tool.namespace:
                item["namespace"] = answer.tool.namespace
        else:
            item = {
                "type": "message",
                "id": f"msg_{number}",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": answer.text, "annotations": []}],
            }
        usage = {
            "input_tokens": 2,
            "input_tokens_details": None,
            "output_tokens": 2,
            "output_tokens_details": None,
            "total_tokens": 4,
        }
        response = {"id": f"resp_{number}", "object": "response", "model": body.get("model")}
        begun: dict[str, Any] = {**response, "status": "in_progress", "output": []}
        ended = {**response, "status": "completed", "output": [item], "usage": usage}
        yield "response.created", {"type": "response.created", "response": begun}
        for kind in ("response.output_item.added", "response.output_item.done"):
            yield kind, {"type": kind, "output_index": 0, "item": item}
        yield "response.completed", {"type": "response.completed", "response": ended}

    @staticmethod
    def whole(number: int, body: dict[str, Any], answer: Answer | None) -> dict[str, Any]:
        *_, (_, last) = Responses.stream(number, body, answer or Answer())
        return dict(last["response"])


class Chat:
    """`/chat/completions`"""

    @staticmethod
    def read(body: dict[str, Any]) -> Reading:
        reading = Reading()
        who = {"assistant": "model", "tool": "result"}
        for message in body.get("messages", []):
            text = text_of(message.get("content") or "")
            reading.entries.append(Entry(who.get(message.get("role"), "user"), text))
        for tool in body.get("tools", []):
            one = tool.get("function", tool)
            reading.tools.append(Tool(one.get("name", ""), None, one.get("parameters") or {}))
        return reading

    @staticmethod
    def _said(number: int, answer: Answer) -> tuple[dict[str, Any], str]:
        if not answer.tool:
            return {"role": "assistant", "content": answer.text}, "stop"
        function = {"name": answer.tool.name, "arguments": json.dumps(answer.arguments)}
        call = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"

    USAGE: ClassVar = {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}

    @staticmethod
    def stream(number: int, body: dict[str, Any], answer: Answer) -> Iterator[Event]:
        head = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": body.get("model"),
        }
        delta, reason = Chat._said(number, answer)
        yield None, {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        end = {"index": 0, "delta": {}, "finish_reason": reason}
        yield None, {**head, "choices": [end], "usage": Chat.USAGE}
        yield None, "[DONE]"

    @staticmethod
    def whole(number: int, body: dict[str, Any], answer: Answer | None) -> dict[str, Any]:
        message, reason = Chat._said(number, answer or Answer())
        return {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1,
            "model": body.get("model"),
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": Chat.USAGE,
        }


class Gemini:
    """`:generateContent` and `:streamGenerateContent`"""

    @staticmethod
    def read(body: dict[str, Any]) -> Reading:
        reading = Reading()
        for content in body.get("contents", []):
            for part in content.get("parts", []):
                who = "model" if content.get("role") == "model" else "user"
                if "functionResponse" in part:
                    who = "result"
                    part = part["functionResponse"]
                reading.entries.append(Entry(who, text_of(part)))
        for group in body.get("tools", []):
            for tool in group.get("functionDeclarations", []):
                schema = tool.get("parametersJsonSchema") or tool.get("parameters") or {}
                reading.tools.append(Tool(tool.get("name", ""), None, schema))
        return reading

    @staticmethod
    def stream(number: int, body: dict[str, Any], answer: Answer) -> Iterator[Event]:
        yield None, Gemini.whole(number, body, answer)

    @staticmethod
    def whole(number: int, body: dict[str, Any], answer: Answer | None) -> dict[str, Any]:
        answer = answer or Answer()
        part: dict[str, Any] = {"text": answer.text}
        if answer.tool:
            part = {"functionCall": {"name": answer.tool.name, "args": answer.arguments}}
        content = {"role": "model", "parts": [part]}
        return {
            "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {
                "promptTokenCount": 2,
                "candidatesTokenCount": 2,
                "totalTokenCount": 4,
            },
        }


def wire_of(path: str) -> Any:
    """The wire that a request's path belongs to, if it is one that asks the model."""
    path = path.split("?")[0]
    if path.endswith("/messages"):
        return Anthropic
    if path.endswith("/responses"):
        return Responses
    if path.endswith("/chat/completions"):
        return Chat
    if "enerateContent" in path:
        return Gemini
    return None


def streams(path: str, body: dict[str, Any]) -> bool:
    """Whether the answer is to come as events."""
    return bool(body.get("stream")) or "streamGenerateContent" in path
