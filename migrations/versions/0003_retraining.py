"""When labels were written down, and how far a training run is."""

import sqlalchemy as sa
from alembic import op


revision: str = '0003'
down_revision: str | None = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Plain statements: a batch would copy the whole table, however many million rows it has.
    op.add_column('label', sa.Column('recorded_at', sa.String(), server_default=sa.text("('')"), nullable=False))
    op.execute('UPDATE label SET recorded_at = labelled_at')
    op.add_column('training_run', sa.Column('progress', sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column('training_run', 'progress')
    op.drop_column('label', 'recorded_at')
