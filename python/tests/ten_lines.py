"""Two sessions and a message: what a user would try first."""

from slm_mesh import Session

with Session(name="reviewer") as reviewer, Session(name="author") as author:
    with author.lock("parser.py", reason="renaming"):
        author.send("reviewer", {"file": "parser.py", "ready": True})
    for message in reviewer.listen(timeout=10):
        print(message.from_name, message.json())
        reviewer.send(message.from_peer, "looks good", reply_to=message.id)
        break
    answer = author.receive(timeout=10)
    assert answer is not None, "no answer has come"
    print(answer.from_name, answer.payload)
