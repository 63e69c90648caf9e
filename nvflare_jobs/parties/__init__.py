"""The parties of a federation as FLARE drives them; nothing here can be built by a job.

FLARE's allow-list of classes names ``nvflare_jobs.components`` only. What a site does with its data
and its files stands here, out of a job author's reach.
"""
