"""The rules of Modelyard, free of HTTP.

There are two kinds of service. One takes a Session: it joins the transaction of its caller and never commits, so
several of them may write together. The other takes a Database and opens short transactions of its own; between them it
may ask a Hub, look at files or wait. What it does with rows goes through the first kind.
"""
