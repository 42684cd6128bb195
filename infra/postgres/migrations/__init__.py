"""Migrations of the reference application's tables: run by Alembic, written in SQL.

``freshline db migrate`` runs them over the driver that we have anyway. Each revision is one Python file of four lines
and two ``.sql`` files beside it, so what happens to the database can be read, and run by hand, without Python.
"""
