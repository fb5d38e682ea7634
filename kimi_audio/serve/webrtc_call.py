"""A conversation over WebRTC: the peer connection, its channel of events and its tracks, around a Realtime session."""

import asyncio
import contextlib
import logging
import secrets
from contextlib import ExitStack
from typing import Any

from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription

from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.playout import Playout
from kimi_audio.serve.realtime_admission import Admitted
from kimi_audio.serve.realtime_session import RealtimeSession
from kimi_audio.serve.services import Services
from kimi_audio.serve.webrtc_channel import EventsChannel
from kimi_audio.serve.webrtc_tracks import PlayedTrack, hear

logger = logging.getLogger(__name__)

MOST_CANDIDATES = 64
END_S = 10.0


class WebRtcCall:
    """One call, which holds a place among the sessions from its making to its end.

    Args:
        services: of the server.
        given: what the session begins with.
    """

    def __init__(self, services: Services, given: Admitted) -> None:
        self._services, self.id = services, f"rtc_{secrets.token_hex(16)}"
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # by default others' servers would be asked
        self._channel = EventsChannel(self._peer, services.limits)
        self._playout = Playout(lambda news: self._session.tell(news))
        self._session = RealtimeSession(self._channel, services, given, self._playout)
        self._tasks: list[asyncio.Task[Any]] = []
        self._talk: asyncio.Task[None] | None = None
        self._peer.on("track", self._listen)
        self._place = ExitStack()
        self._place.enter_context(services.open_session(self._session))
        services.calls[self.id] = self

    async def answer(self, offer: str) -> str:
        """Begin the call and return the answer, in SDP, to an offer.

        Raises:
            ApiError: the offer cannot be answered; the call has ended.
        """
        try:
            check_offer(offer)
            async with asyncio.timeout(self._services.limits.handshake_s):
                await self._negotiate(offer)
        except BaseException as error:
            await self._end()
            if isinstance(error, TimeoutError):
                raise _bad_offer("that took too long") from None
            raise
        self._talk = asyncio.create_task(self._hold())
        return self._peer.localDescription.sdp

    async def _negotiate(self, offer: str) -> None:
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            self._peer.addTrack(PlayedTrack(self._playout))
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except Exception as error:
            logger.info("an offer cannot be answered", exc_info=error)
            raise _bad_offer("it asks for what this server does not know") from None

    async def hang_up(self) -> None:
        """End the call now."""
        self._channel.leave()
        if self._talk is not None:
            await asyncio.wait([self._talk], timeout=END_S)

    def _listen(self, track: MediaStreamTrack) -> None:
        self._tasks.append(asyncio.create_task(hear(track, self._session.hear)))

    async def _hold(self) -> None:
        try:
            await self._session.run()
        except Exception:
            logger.exception("a call ended by an error")
        finally:
            await self._end()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await self._peer.close()
        self._services.calls.pop(self.id, None)
        self._place.close()


def check_offer(offer: str) -> None:
    """See that an offer is one of a conversation.

    Raises:
        ApiError: it is no SDP, or of something else.
    """
    try:
        media = SessionDescription.parse(offer).media
    except Exception:  # noqa: BLE001 - the parser meets what is no SDP in many ways
        raise _bad_offer("it is no SDP") from None
    if sorted(one.kind for one in media) != ["application", "audio"]:
        raise _bad_offer("it must have one audio track and a data channel, oai-events, and nothing else")
    if any(one.direction in ("sendonly", "inactive") for one in media if one.kind == "audio"):
        raise _bad_offer("its audio track must be one that receives, too")
    if sum(len(one.ice_candidates) for one in media) > MOST_CANDIDATES:
        raise _bad_offer(f"it has more than {MOST_CANDIDATES} candidates")


def _bad_offer(reason: str) -> ApiError:
    return ApiError(f"The offer cannot be answered: {reason}.", code="invalid_sdp", param="sdp")
